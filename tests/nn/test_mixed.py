"""The mixed operation is the naive weighted sum, in values and in every gradient."""

import pytest
import torch

from nas_domains.core.errors import UsageError
from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.mixed import MixedOp
from tests.make import naive


@pytest.mark.parametrize("candidates", [DARTS, NASBENCH201], ids=["darts", "nasbench201"])
@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("stride", [1, 2])
def test_equals_the_naive_sum(backend, candidates, dims, stride):
    torch.manual_seed(0)
    mixed = MixedOp(candidates, 4, stride, dims).double()
    results = []
    for run in (mixed, lambda x, w: naive(mixed, x, w)):
        x = torch.randn(
            2, 4, *(5, 6, 3)[:dims], dtype=torch.float64,
            generator=torch.Generator().manual_seed(1),
        ).requires_grad_()  # fmt: skip
        alpha = torch.linspace(-1, 1, len(candidates), dtype=torch.float64, requires_grad=True)
        weights = alpha.softmax(0)
        weights.retain_grad()
        out = run(x, weights)
        out.backward(torch.linspace(-1, 1, out.numel(), dtype=torch.float64).reshape(out.shape))
        grads = [p.grad.clone() for p in mixed.parameters()]
        mixed.zero_grad()
        results.append([out.detach(), x.grad, alpha.grad, weights.grad, *grads])
    for mine, expected in zip(*results, strict=True):
        # Two orders of the same sums: the rounding of float64 over as many terms.
        torch.testing.assert_close(mine, expected, rtol=1e-10, atol=1e-11)
    none = list(candidates).index("none")
    weight_gradient = results[0][3]
    assert weight_gradient[none] == 0
    others = [k for k in range(len(candidates)) if k != none]
    assert weight_gradient[others].all()


def test_none_weighs_though_it_is_not_computed(backend):
    mixed = MixedOp(DARTS, 2, 1, 2).eval()
    x = torch.randn(2, 2, 4, 4)
    alpha = torch.zeros(8)
    less = alpha.clone()
    less[list(DARTS).index("none")] = 5.0
    assert mixed(x, less.softmax(0)).norm() < 0.1 * mixed(x, alpha.softmax(0)).norm()


def test_one_candidate_alone_is_that_module_bit_for_bit(backend):
    mixed = MixedOp(DARTS, 4, 2, 2).eval()
    x = torch.randn(2, 4, 5, 5)
    for k, module in enumerate(mixed.candidates.values()):
        assert torch.equal(mixed(x, k), module(x))


def test_one_candidate_alone_leaves_the_others_statistics(backend):
    mixed = MixedOp(NASBENCH201, 4, 1, 2).train()
    names = list(mixed.candidates)
    before = {name: value.clone() for name, value in mixed.state_dict().items()}
    mixed(torch.randn(2, 4, 5, 5), names.index("nor_conv_3x3"))
    changed = {n.split(".")[1] for n, v in mixed.state_dict().items() if not v.equal(before[n])}
    assert changed == {"nor_conv_3x3"}


def test_norms_of_a_supernet_do_not_learn():
    assert all(p.dim() > 1 for p in MixedOp(DARTS, 4, 1, 2).parameters())


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_partial_channels_pass_the_others_by(stride: int, dims: int) -> None:
    torch.manual_seed(0)
    mixed = MixedOp(DARTS, 8, stride, dims, partial=4).double().eval()
    x = torch.randn(2, 8, *(5,) * dims, dtype=torch.float64)
    w = torch.softmax(torch.randn(len(DARTS), dtype=torch.float64), 0)
    out = mixed(x, w)
    alone = sum(k * c(x[:, :2]) for k, c in zip(w, mixed.candidates.values(), strict=True))
    # Channel i of share j comes to place 4 i + j.
    torch.testing.assert_close(out[:, ::4], alone)
    for share in (1, 2, 3):
        own = x[:, 2 * share : 2 * share + 2]
        torch.testing.assert_close(out[:, share::4], mixed.bypass(own))


def test_channels_that_partial_shares_do_not_divide_are_refused() -> None:
    with pytest.raises(UsageError, match="6 channels cannot be cut into 4"):
        MixedOp(DARTS, 6, 1, 2, partial=4)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_second_skip_connection_joins_weighted_candidates_alone(stride: int) -> None:
    torch.manual_seed(0)
    mixed = MixedOp(NASBENCH201, 4, stride, 2).double()
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64)
    w = torch.full((len(NASBENCH201),), 0.2, dtype=torch.float64)
    plain, path = mixed(x, w), mixed(x, 3)
    mixed.auxiliary = 0.5
    skip = x if stride == 1 else mixed.mean(x)
    torch.testing.assert_close(mixed(x, w), plain + 0.5 * skip)
    assert torch.equal(mixed(x, 3), path), "a path alone is that of a plain network"


@pytest.mark.parametrize("fuses", [True, False])
@pytest.mark.parametrize("active", [(0,), (3,), (1, 4), (0, 2, 5), (7, 1)])
def test_some_candidates_alone_give_their_part_of_the_sum(
    active: tuple[int, ...], fuses: bool
) -> None:
    torch.manual_seed(0)
    mixed = MixedOp(DARTS, 4, 1, 2).double()
    mixed.fuses = fuses
    x = torch.randn(2, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    w = torch.rand(len(DARTS), dtype=torch.float64, requires_grad=True)
    modules = list(mixed.candidates.values())
    results = []
    for run in (
        lambda: mixed(x, (w, active)),
        lambda: sum(w[k] * modules[k](x) for k in active),
    ):
        out = run()
        grads = torch.autograd.grad(
            out.square().sum(), [x, w], allow_unused=True, materialize_grads=True
        )
        results.append((out, *grads))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs)
