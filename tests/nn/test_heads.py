"""Operators of heads against loops over tokens; layers of them as supernets and extracted."""

import copy
import math

import pytest
import torch
from torch import nn

from nas_domains.nn.head_operators import OPERATORS
from nas_domains.nn.heads import Heads, compact
from nas_domains.nn.model_space import ModelSpace
from nas_domains.nn.relaxation import Dirichlet, Gates, Gumbel, Softmax
from tests.core.refusal import refused

B, T, H, DH = 3, 9, 3, 4
LENGTHS = torch.tensor([T, 5, 1])


def draw(*shape, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=g, dtype=torch.float64)


def by_loops(name, operator, q, k, v):
    """One item without padding, token by token."""
    out = torch.zeros_like(v)
    for t in range(len(q)):
        if name in ("softmax", "local"):
            seen = [s for s in range(len(q)) if name == "softmax" or abs(s - t) <= operator.window]
            p = torch.stack([q[t] @ k[s] / math.sqrt(DH) for s in seen]).softmax(0)
            out[t] = sum(w * v[s] for w, s in zip(p, seen, strict=True))
        elif name == "linear":
            w = [(_positive(q[t]) * _positive(k[s])).sum() for s in range(len(q))]
            out[t] = sum(a * v[s] for s, a in enumerate(w)) / sum(w)
        elif name == "conv":
            half = operator.weight.shape[1] // 2
            for j in range(-half, half + 1):
                if 0 <= t + j < len(q):
                    out[t] += operator.weight[:, j + half] * v[t + j]
    return out


def _positive(x):
    return torch.where(x > 0, x + 1, x.exp())


@pytest.mark.parametrize("name", OPERATORS)
def test_each_operator_is_its_definition_and_blind_to_padding(name):
    operator = OPERATORS[name](DH).double()
    q, k, v = (draw(B, T, DH, seed=i).requires_grad_() for i in range(3))
    inside = torch.arange(T) < LENGTHS[:, None]
    masked = [torch.where(inside[..., None], t, 0) for t in (q, k, v)]
    found = operator(*masked, inside)
    for i, length in enumerate(LENGTHS.tolist()):
        expected = by_loops(name, operator, *(t[i, :length] for t in (q, k, v)))
        torch.testing.assert_close(found[i, :length], expected)
        assert not found[i, length:].any()
    if name != "none":
        leaves = [v, *operator.parameters()]
        grads = torch.autograd.grad(found.square().sum(), leaves)
        assert not grads[0][~inside].any() and all(grad.any() for grad in grads)
    assert operator(q, k, v).isfinite().all()


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients(name):
    operator = OPERATORS[name](2).double()
    q, k, v = (draw(2, 3, 2, seed=i).requires_grad_() for i in range(3))
    inside = torch.tensor([[True, True, False], [True, True, True]])
    assert torch.autograd.gradcheck(lambda *t: operator(*t, inside), (q, k, v))


def test_an_item_of_padding_alone_gives_zeros_and_no_nan():
    layer = Heads(H * DH, H).double()
    x = draw(2, T, H * DH).requires_grad_()
    y = layer(x, torch.tensor([0, 4]))
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    assert not y[0].any() and y.isfinite().all() and dx.isfinite().all()


def test_a_layer_of_softmax_heads_is_torchs_own():
    layer = Heads(H * DH, H, fixed=["softmax"] * H).double()
    plain = nn.MultiheadAttention(H * DH, H, batch_first=True, dtype=torch.float64)
    with torch.no_grad():
        parts = (layer.query, layer.key, layer.value)
        plain.in_proj_weight.copy_(torch.cat([m.weight for m in parts]))
        plain.in_proj_bias.copy_(torch.cat([m.bias for m in parts]))
        plain.out_proj.load_state_dict(layer.output.state_dict())
    x, padding = draw(B, T, H * DH), torch.arange(T) >= LENGTHS[:, None]
    expected, _ = plain(x, x, x, key_padding_mask=padding, need_weights=False)
    torch.testing.assert_close(layer(x, LENGTHS), expected.masked_fill(padding[..., None], 0))


def test_weighted_operators_are_the_sum_of_the_layers_of_each():
    layer = Heads(H * DH, H).double()
    x, weights = draw(B, T, H * DH), draw(H, len(OPERATORS), seed=3).softmax(1)
    for choice, row in zip(layer.choices, weights, strict=True):
        choice.weights = row
    mixed = layer(x, LENGTHS)
    total, bias = 0, layer.output.bias
    inside = (torch.arange(T) < LENGTHS[:, None])[..., None]
    for head in range(H):
        for i in range(len(OPERATORS)):
            for other in layer.choices:
                other.weights = list(OPERATORS).index("none")
            layer.choices[head].weights = i
            total = total + weights[head, i] * (layer(x, LENGTHS) - bias * inside)
    torch.testing.assert_close(mixed, total + bias * inside)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = Heads(6, 3), Heads(6, 2)
        self.classifier = nn.Linear(6, 2)

    def forward(self, x):
        x = x + self.first(x)
        return self.classifier((x + self.second(x)).mean(1))


@pytest.mark.parametrize("relaxation", [Softmax(), Gumbel(), Gumbel(False), Dirichlet(), Gates()])
def test_a_model_of_heads_is_a_space_of_every_relaxation(relaxation):
    torch.manual_seed(0)
    space = ModelSpace(Model)
    assert space.size() == len(OPERATORS) ** 5
    net = space.supernet((4, 6), 2)
    net.relaxation = relaxation
    loss = net(torch.randn(3, 4, 6)).square().sum()
    grads = torch.autograd.grad(loss, net.architecture_parameters(), allow_unused=True)
    assert all(g is not None and g.isfinite().all() for g in grads)


def test_extracted_networks_give_what_the_path_gives_and_lose_what_is_idle():
    torch.manual_seed(0)
    space = ModelSpace(Model)
    net = space.supernet((4, 6), 2).double().eval()
    x = draw(3, 4, 6)
    for architecture in space.sample(6, seed=1):
        net.set_architecture(architecture)
        plain = net.extract(architecture).eval()
        assert torch.equal(net(x), plain(x))
        small = compact(copy.deepcopy(plain))
        torch.testing.assert_close(small(x), plain(x))
        # A head of 2 or 3 features has as many rows in queries, keys, values and the output.
        cut = 0
        for layer, size in (("first", 2), ("second", 3)):
            names = [str(o) for n, o in architecture.items() if n.startswith(layer)]
            kept = [name for name in names if name != "none"] or ["none"]
            looking = sum(name in ("softmax", "local", "linear") for name in kept)
            cut += (len(names) - looking) * 2 * size * 7
            cut += (len(names) - len(kept)) * size * (7 + 6)
        count = [sum(p.numel() for p in m.parameters()) for m in (small, plain)]
        assert count[1] - count[0] == cut
        torch.testing.assert_close(compact(small)(x), plain(x))


def test_choices_have_the_label_of_their_layer_and_busy_heads_always_do_something():
    layer = Heads(6, 3, label="layer2", busy=1)
    assert [c.label for c in layer.choices] == ["layer2.head1", "layer2.head2", "layer2.head3"]
    assert ["none" in c.candidates for c in layer.choices] == [False, True, True]


def test_wrong_arguments():
    with refused("5 heads", "12 features"):
        Heads(12, 5)
    with refused("maximum", "3 heads"):
        Heads(12, 3, fixed=["softmax", "maximum", "none"])
    with refused("2 heads"):
        Heads(12, 2, fixed=["softmax"])
    with refused("not chosen"):
        compact(Heads(12, 2))
