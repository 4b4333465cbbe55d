"""The op elastic_attention: the shipped contract, and what is its own."""

import pytest
import torch
from torch import nn

from nas_domains import ops
from nas_domains.testing.ops import SAMPLES, OpContract

BACKENDS = ["reference", "native"]
B, T, D, H, DH = 3, 11, 10, 4, 3


class TestElasticAttention(OpContract):
    sample = SAMPLES["elastic_attention"]


class TestElasticAttentionPadded(OpContract):
    sample = SAMPLES["elastic_attention of padded items"]


@pytest.fixture(params=BACKENDS)
def backend(request):
    if request.param not in ops.available():
        pytest.skip(f"the {request.param} backend is not here")
    with ops.backend(request.param):
        yield request.param


def layer(dtype=torch.float64, seed=0):
    """x, weights and biases."""
    g = torch.Generator().manual_seed(seed)
    shapes = [(B, T, D), *[(H * DH, D)] * 3, (D, H * DH), *[(H * DH,)] * 3, (D,)]
    x, *rest = (torch.randn(shape, generator=g, dtype=dtype) for shape in shapes)
    return x, rest[:4], rest[4:]


def test_all_heads_are_torchs_own_layer(backend):
    x, weights, biases = layer()
    plain = nn.MultiheadAttention(D, 2, batch_first=True, dtype=torch.float64)
    weights = [w[:D] if i < 3 else w[:, :D] for i, w in enumerate(weights)]
    with torch.no_grad():
        plain.in_proj_weight.copy_(torch.cat(weights[:3]))
        plain.in_proj_bias.copy_(torch.cat([b[:D] for b in biases[:3]]))
        plain.out_proj.weight.copy_(weights[3])
        plain.out_proj.bias.copy_(biases[3])
    lengths = torch.tensor([T, 4, 1])
    padding = torch.arange(T) >= lengths[:, None]
    expected, _ = plain(x, x, x, key_padding_mask=padding, need_weights=False)
    own = [b[:D] for b in biases]
    y = ops.elastic_attention(x, weights, own, head_dim=5, heads=2, lengths=lengths)
    torch.testing.assert_close(y, expected.masked_fill(padding[..., None], 0))


def test_padding_changes_nothing_and_costs_no_gradient(backend):
    x, weights, biases = layer()
    lengths = torch.tensor([T, 6, 0])
    x.requires_grad_()
    options = {"head_dim": DH, "heads": [2, 0], "lengths": lengths}
    y = ops.elastic_attention(x, weights, biases, **options)
    alone = ops.elastic_attention(x[1:2, :6], weights, biases, head_dim=DH, heads=[2, 0])
    torch.testing.assert_close(y[1, :6], alone[0])
    assert not y[1, 6:].any() and not y[2].any()
    (dx,) = torch.autograd.grad(y.square().sum(), x)
    assert dx[1, :6].any() and not dx[1, 6:].any() and not dx[2].any()
    poisoned = x.detach().clone()
    poisoned[1, 6:] = torch.nan
    with torch.no_grad():
        assert torch.equal(ops.elastic_attention(poisoned, weights, biases, **options), y)


def test_gradients_stay_in_the_block_of_the_heads_and_features(backend):
    x, weights, biases = layer()
    leaves = [t.requires_grad_() for t in (*weights, *biases)]
    y = ops.elastic_attention(x[..., :7], weights, biases, head_dim=DH, heads=2)
    assert y.shape == (B, T, 7)
    dq, _, dv, do, _, _, dbv, dbo = torch.autograd.grad(y.square().sum(), leaves)
    for grad in (dq, dv, do.t()):
        assert grad[: 2 * DH, :7].all() and not grad[2 * DH :].any() and not grad[:, 7:].any()
    assert dbv[: 2 * DH].all() and not dbv[2 * DH :].any()
    assert dbo[:7].all() and not dbo[7:].any()


@pytest.mark.parametrize("wanted", [[0], [1], [3, 7], [4, 8], [5], list(range(9))])
def test_only_the_gradients_asked_for_are_computed(backend, wanted, monkeypatch):
    x, weights, biases = layer()
    tensors = [x, *weights, *biases]
    for i in wanted:
        tensors[i].requires_grad_()
    asked = []
    bwd = torch.ops.nas_domains.elastic_attention_bwd
    monkeypatch.setattr(
        torch.ops.nas_domains, "elastic_attention_bwd",
        lambda *args: asked.append(args[-1]) or bwd(*args),
    )  # fmt: skip

    def gradients(leaves):
        y = ops.elastic_attention(tensors[0], weights, biases, head_dim=DH, heads=3)
        return torch.autograd.grad(y.square().sum(), leaves)

    got = gradients([tensors[i] for i in wanted])
    assert asked == [wanted]
    everything = gradients([t.requires_grad_() for t in tensors])
    for i, mine in zip(wanted, got, strict=True):
        torch.testing.assert_close(mine, everything[i])


def test_biases_may_be_missing_one_by_one(backend):
    x, weights, biases = layer()
    some = [biases[0], None, None, biases[3]]
    zeros = [b if b is not None else torch.zeros(H * DH, dtype=x.dtype) for b in some]
    options = {"head_dim": DH, "heads": 3}
    torch.testing.assert_close(
        ops.elastic_attention(x, weights, some, **options),
        ops.elastic_attention(x, weights, zeros, **options),
    )


def test_large_scores_do_not_overflow(backend):
    x, weights, biases = layer(torch.float32)
    y = ops.elastic_attention(1e3 * x, weights, biases, head_dim=DH, heads=H)
    assert y.isfinite().all()


def test_nothing_of_the_size_of_the_scores_is_kept(backend):
    x = torch.randn(1, 64, 4, requires_grad=True)
    weights = [torch.randn(4, 4) for _ in range(4)]
    y = ops.elastic_attention(x, weights, head_dim=2, heads=2)
    kept = [t for t in y.grad_fn.saved_tensors if t is not None]
    assert max(t.numel() for t in kept) <= 3 * x.numel()


@pytest.mark.parametrize("lengths", [[-1, 1, 1], [1, 12, 1]])
def test_lengths_outside_the_tokens_are_refused(lengths):
    if "native" not in ops.available():
        pytest.skip("the reference reads no values")
    x, weights, _ = layer()
    with pytest.raises(RuntimeError, match="lengths from 0 to T"):
        ops.elastic_attention(x, weights, head_dim=DH, heads=1, lengths=torch.tensor(lengths))


def test_autocast_takes_tensors_of_several_dtypes():
    x, weights, biases = layer(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = ops.elastic_attention(x.bfloat16(), weights, biases, head_dim=DH, heads=2)
    assert y.dtype == torch.float32


def test_autocast_does_not_reach_into_it(backend):
    """It computes in its own type, in a backward within autocast too."""
    x, weights, biases = layer(torch.float32)
    leaves = [t.requires_grad_() for t in (x, *weights)]

    def gradients():
        y = ops.elastic_attention(x, weights, biases, heads=[0, 2], head_dim=DH)
        return y, *torch.autograd.grad(y.square().sum(), leaves)

    with torch.autocast("cpu", torch.bfloat16):
        inside = gradients()
    for a, b in zip(inside, gradients(), strict=True):
        assert a.dtype == torch.float32
        torch.testing.assert_close(a, b)


def test_inputs_that_depend_on_each_other_have_their_own_gradients(backend):
    """With a graph of the gradient as without: one weight given twice, and one made of x."""
    x, (wq, _, wv, wo), biases = layer()
    x.requires_grad_()
    wq.requires_grad_()

    def gradients(**how):
        made = wv + x.mean()
        y = ops.elastic_attention(x, (wq, wq, made, wo), biases, heads=[0, 2], head_dim=DH)
        return torch.autograd.grad(y.square().sum(), [x, wq], **how)

    for a, b in zip(gradients(), gradients(create_graph=True), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.skipif("native" not in ops.available(), reason="the native backend is not here")
@pytest.mark.parametrize("head", [H, 2**63 - 1, -1])
def test_the_kernel_itself_refuses_heads_that_are_not_there(head):
    x, weights, biases = layer()
    with ops.backend("native"), pytest.raises(RuntimeError, match="weights of each head"):
        torch.ops.nas_domains.elastic_attention_fwd(x, *weights, *biases, [head], DH, None)
