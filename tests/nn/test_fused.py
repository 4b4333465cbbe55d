"""MixedOp as one op: equal to its candidates one by one."""

import copy

import pytest
import torch

from nas_domains import ops
from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.fused import fuse
from nas_domains.nn.mixed import MixedOp
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import naive

CASES = [(DARTS, 1), (DARTS, 2), (NASBENCH201, 1), (NASBENCH201, 2)]
native = pytest.mark.skipif(ops.active()["mixed_edge_fwd"] != "native", reason="nothing compiled")


def run(mixed, backend, training):
    """Output, gradients and state of one call on a backend."""
    mixed = copy.deepcopy(mixed).train(training)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(3, 4, 7, 6, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.rand(len(mixed.candidates), generator=generator, dtype=torch.float64)
    w.requires_grad_()
    with ops.backend(backend):
        y = mixed(x, w)
    leaves = [x, w, *mixed.parameters()]
    g = torch.randn(y.shape, generator=generator, dtype=torch.float64)
    grads = torch.autograd.grad(y, leaves, g)
    return [y, *grads], mixed.state_dict()


@native
@pytest.mark.parametrize(("candidates", "stride"), CASES)
@pytest.mark.parametrize("training", [True, False])
def test_equal_to_the_candidates(candidates, stride, training):
    mixed = MixedOp(candidates, 4, stride, 2).double()
    whole = mixed.fused
    assert whole is not None
    assert (
        whole(torch.zeros(2, 4, 2, 2).double(), torch.ones(len(candidates)).double()) is not None
    )
    for buffer in mixed.buffers():
        if buffer.is_floating_point():
            buffer += torch.rand_like(buffer)
    ours, state = run(mixed, "auto", training)
    plain, expected = run(mixed, "reference", training)
    for a, b in zip(ours, plain, strict=True):
        torch.testing.assert_close(a, b)
    assert state.keys() == expected.keys()
    for key, value in state.items():
        torch.testing.assert_close(value, expected[key])


@native
def test_norms_that_do_not_track_stay_as_they_are():
    mixed = MixedOp(DARTS, 4, 1, 2)
    for module in mixed.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.track_running_stats = False
    before = copy.deepcopy(mixed.state_dict())
    mixed(torch.randn(2, 4, 5, 5), torch.ones(8))
    assert all(torch.equal(before[key], value) for key, value in mixed.state_dict().items())


@native
def test_a_hook_sees_its_module_run():
    mixed = MixedOp(DARTS, 4, 1, 2)
    seen = []
    mixed.candidates["sep_conv_3x3"][1].register_forward_hook(lambda *_: seen.append(1))
    mixed(torch.randn(2, 4, 5, 5), torch.ones(8))
    assert seen


def test_a_statistic_that_is_no_buffer_goes_the_plain_way():
    mixed = MixedOp(DARTS, 4, 1, 2).eval()
    norm = mixed.candidates["max_pool_3x3"][1]
    norm.running_mean = torch.nn.Parameter(torch.ones(4), requires_grad=False)
    x, w = torch.randn(2, 4, 5, 5), torch.rand(8)
    torch.testing.assert_close(mixed(x, w), naive(mixed, x, w))


@pytest.mark.parametrize("space", [darts, nasbench201])
def test_supernets_run_fused(space):
    body = space(cells=2, channels=4).supernet((1, 12, 12), 3).body
    mixed = [module for module in body.modules() if isinstance(module, MixedOp)]
    assert mixed and all(module.fused is not None for module in mixed)


def test_other_candidates_are_left_alone():
    def affine(c, stride, affine, dims):
        return torch.nn.Sequential(torch.nn.MaxPool2d(3, stride, 1), torch.nn.BatchNorm2d(c))

    assert fuse([affine(4, 1, False, 2)], 1) is None
    assert fuse([torch.nn.Identity(), torch.nn.Identity()], 1) is None
    assert fuse([torch.nn.Linear(4, 4)], 1) is None
    assert MixedOp(DARTS, 4, 1, 3).fused is None
    assert MixedOp(DARTS, 4, 1, 1).fused is None


@native
def test_mixed_precision_goes_back_to_the_candidates():
    mixed = MixedOp(DARTS, 4, 1, 2)
    for dtype in torch.bfloat16, torch.float64:
        x = torch.zeros(2, 4, 5, 5, dtype=dtype)
        assert mixed.fused(x, torch.ones(8, dtype=dtype)) is None
    assert mixed.fused(torch.zeros(2, 4, 5, 5), torch.ones(8)) is not None


def test_half_precision_trains_on_the_cpu():
    torch.manual_seed(0)
    mixed = MixedOp(DARTS, 4, 1, 2).bfloat16()
    x, w = torch.randn(2, 4, 5, 5).bfloat16(), torch.rand(8).bfloat16()
    mixed(x, w)
    for name, buffer in mixed.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert buffer == 1
        elif name.endswith("running_var"):
            assert buffer.dtype == torch.bfloat16 and (buffer != 1).any()


@native
def test_compiles_with_gradients():
    torch.compiler.reset()
    mixed = MixedOp(DARTS, 4, 1, 2)
    x, w = torch.randn(2, 4, 5, 5), torch.rand(8, requires_grad=True)
    expected = copy.deepcopy(mixed)(x, w)
    compiled = torch.compile(mixed, backend="aot_eager")
    for _ in range(2):
        y = compiled(x, w)
    torch.testing.assert_close(y, expected)
    y.sum().backward()
    assert w.grad is not None
    torch.compiler.reset()


@native
@pytest.mark.parametrize(
    ("x", "w", "words"),
    [
        ((2, 4, 5, 5), (7,), "one weight for each of the 8 branches"),
        ((2, 4, 5, 5), (8, 1), "one weight for each of the 8 branches"),
        ((2, 3, 5, 5), (8,), "these branches take"),
        ((1, 4, 1, 1), (8,), "one value a channel"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(x, w, words):
    with pytest.raises(ValueError, match=words):
        MixedOp(DARTS, 4, 1, 2)(torch.randn(x), torch.rand(w))
