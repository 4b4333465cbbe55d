"""The mixed operation is the naive weighted sum, in values and in every gradient."""

import pytest
import torch

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
