"""The supernet's weights and its decoding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.nn.candidates import DARTS
from nas_domains.nn.mixed import MixedOp
from nas_domains.vision.spaces import darts, nasbench201

SPACES = [darts(2, 2), nasbench201(1, 2)]
EDGES = SPACES[0].design.edges
each_space = pytest.mark.parametrize("space", SPACES, ids=lambda s: s.name)


@pytest.fixture
def supernet(space):
    torch.manual_seed(0)
    made = space.supernet((1, 5, 5), 2)
    for alpha in made.architecture_parameters():
        torch.nn.init.normal_(alpha, std=2)
    return made


@each_space
def test_strengths_are_one_softmax(supernet):
    for kind, strength in supernet.strengths().items():
        alpha = supernet.alphas[kind].detach()
        assert torch.equal(strength, torch.softmax(alpha, 1)), "exactly one softmax"
        assert not strength.requires_grad
        # A sum of K float32 numbers below one is off by less than K roundings.
        assert (strength.sum(1) - 1).abs().max() < strength.shape[1] * 2**-24
        assert strength.max() > 0.6, "a second softmax would flatten this to below e / (e + K - 1)"


@each_space
def test_mixed_operations_are_given_the_strengths(supernet, space):
    seen = {}
    for i, cell in enumerate(supernet.body.cells):
        for name, module in getattr(cell, "edges", {}).items():
            assert isinstance(module, MixedOp)
            module.register_forward_pre_hook(
                lambda _m, args, key=(i, name): seen.__setitem__(key, args[1])
            )
    supernet(torch.randn(2, 1, 5, 5))
    strengths = supernet.strengths()
    assert len(seen) >= 2 * len(space.design.edges)
    for (i, name), weights in seen.items():
        row = space.design.edges.index(tuple(map(int, name.split("-"))))
        assert torch.equal(weights, strengths[supernet.body.cells[i].kind][row])


@each_space
def test_decode_reads_the_present_parameters(supernet, space):
    assert supernet.decode() == space.decode(supernet.strengths())
    target = space.sample(1, seed=7)[0]
    for kind, edges in space.genotype(target).items():
        alpha = supernet.alphas[kind].data.zero_()
        for edge, name in edges.items():
            alpha[space.design.edges.index(edge), list(space.candidates).index(name)] = 9.0
    assert supernet.decode() == target


@each_space
def test_decode_leaves_the_strengths_alone(supernet, space):
    strengths = supernet.strengths()
    before = {kind: s.clone() for kind, s in strengths.items()}
    space.decode(strengths)
    assert all(torch.equal(strengths[kind], before[kind]) for kind in strengths)


def slow_darts(strengths):
    """Liu et al. 2019, section 2.4, by plain lists: two inputs a node, never `none`."""
    names = list(DARTS)
    choices = {}
    for kind, rows in strengths.items():
        for node in range(2, 6):
            found = []
            for source in range(node):
                row = rows[EDGES.index((source, node))]
                best = None
                for name, weight in zip(names, row, strict=True):
                    if name != "none" and (best is None or weight > best[0]):
                        best = (weight, name)
                found.append((-best[0], source, best[1]))
            first, second = sorted(sorted(found)[:2], key=lambda f: f[1])
            choices[f"{kind}.{node}.inputs"] = f"{first[1]},{second[1]}"
            choices[f"{kind}.{node}.first"] = first[2]
            choices[f"{kind}.{node}.second"] = second[2]
    return choices


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10**6), st.sampled_from([2, 5, 1000]))
def test_darts_decode_is_the_papers_rule(seed, levels):
    """Few levels make ties: the earlier input and the earlier candidate win them."""
    g = torch.Generator().manual_seed(seed)
    strengths = {
        kind: torch.randint(levels, (14, 8), generator=g) / levels for kind in ("normal", "reduce")
    }
    expected = slow_darts({kind: s.tolist() for kind, s in strengths.items()})
    assert dict(SPACES[0].decode(strengths)) == expected


@pytest.mark.parametrize("space", SPACES[:1], ids=["darts"])
def test_none_is_never_chosen_but_weighs(supernet, space):
    none, conv = list(DARTS).index("none"), list(DARTS).index("sep_conv_3x3")
    for alpha in supernet.architecture_parameters():
        alpha.data.zero_()
        alpha.data[:, conv] = 1.0
        # The strongest convolution before the softmax, but on an edge that `none` takes over.
        alpha.data[EDGES.index((0, 5)), conv] = 2.0
        alpha.data[EDGES.index((0, 5)), none] = 8.0
    decoded = supernet.decode()
    assert decoded["normal.5.inputs"] == "1,2" and decoded["normal.5.first"] == "sep_conv_3x3"
    for alpha in supernet.architecture_parameters():
        alpha.data[:, none] = 20.0
    assert "none" not in supernet.decode().values()


@pytest.mark.parametrize("space", SPACES[1:], ids=["nasbench201"])
def test_none_may_be_chosen_where_it_is_an_option(supernet, space):
    supernet.alphas["cell"].data.zero_()
    supernet.alphas["cell"].data[2, list(space.candidates).index("none")] = 1.0
    assert supernet.decode()["1->2"] == "none"
    supernet.alphas["cell"].data.zero_()
    assert set(supernet.decode().values()) == {"none"}, "the first of equal candidates"


@each_space
def test_a_path_gives_no_gradient_to_what_it_does_not_use(supernet, space):
    architecture = space.sample(1, seed=1)[0]
    supernet.set_architecture(architecture)
    supernet(torch.randn(4, 1, 5, 5)).sum().backward()
    assert all(alpha.grad is None for alpha in supernet.architecture_parameters())
    genotype = space.genotype(architecture)
    for i, cell in enumerate(supernet.body.cells):
        for name, module in getattr(cell, "edges", {}).items():
            chosen = genotype[cell.kind].get(tuple(map(int, name.split("-"))))
            for candidate, part in module.candidates.items():
                if candidate != chosen:
                    assert all(p.grad is None for p in part.parameters()), (i, name, candidate)
