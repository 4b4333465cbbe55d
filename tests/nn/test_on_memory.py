"""Edges that compute on memory, in unusual company: as the op does, or the op itself."""

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx
from torch.utils.checkpoint import checkpoint

from nas_domains import ops
from nas_domains.nn import fused
from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.mixed import MixedOp
from tests.make import naive

pytestmark = pytest.mark.skipif(
    ops.active()["mixed_edge_fwd"] != "native", reason="nothing compiled"
)
LAST = torch.channels_last


def edge(candidates=DARTS, channels=4, stride=1, shape=(3, 6, 6), seed=0):
    """A mixed operation, x and weights, all with gradients."""
    torch.manual_seed(seed)
    mixed = MixedOp(candidates, channels, stride, 2)
    x = torch.randn(shape[0], channels, *shape[1:]).contiguous(memory_format=LAST)
    return mixed, x.requires_grad_(), torch.rand(len(candidates)).requires_grad_()


def norms(mixed):
    return [m for m in mixed.modules() if isinstance(m, nn.BatchNorm2d)]


def gradients(mixed, x, w, y=None):
    y = mixed(x, w) if y is None else y
    g = torch.linspace(-1, 1, y.numel()).view(y.shape).contiguous(memory_format=LAST)
    return torch.autograd.grad(y, [x, w, *mixed.parameters()], g)


@pytest.mark.parametrize("candidates", [DARTS, NASBENCH201])
@pytest.mark.parametrize("stride", [1, 2])
def test_an_edge_of_a_supernet_runs_so(on_memory, candidates, stride):
    mixed, x, w = edge(candidates, stride=stride)
    gradients(mixed, x, w)
    assert on_memory == ["forward", "backward"]
    with torch.no_grad():
        mixed(x, w)
    mixed.eval()(x, w)
    assert len(on_memory) == 2


@pytest.mark.parametrize("stride", [1, 2])
def test_another_default_device(on_memory, stride):
    mixed, x, w = edge(stride=stride)
    expected = copy.deepcopy(mixed)(x, w)
    with torch.device("meta"):
        y = mixed(x, w)
    assert y.device.type == "cpu" and torch.equal(y, expected)


@pytest.mark.parametrize("buffer", ["running_mean", "running_var", "num_batches_tracked"])
def test_running_statistics_of_another_size_are_refused(buffer):
    mixed, x, w = edge()
    around = torch.full((8,), 7, dtype=getattr(norms(mixed)[2], buffer).dtype)
    setattr(norms(mixed)[2], buffer, around[:2])
    with pytest.raises(RuntimeError, match="a value a channel|of one int64"):
        mixed(x, w)
    assert (around == 7).all()


def test_weights_turned_where_they_lie_are_seen(on_memory):
    mixed, x, w = edge()
    mixed(x, w)
    pointwise = next(
        c for c in mixed.modules() if isinstance(c, nn.Conv2d) and c.kernel_size == (1, 1)
    )
    pointwise.weight.data = pointwise.weight.data.transpose(0, 1)
    plain = copy.deepcopy(mixed)
    torch.testing.assert_close(mixed(x, w), naive(plain, x, w), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("buffer", ["running_mean", "running_var", "num_batches_tracked"])
def test_statistics_that_a_graph_reads_are_known_to_have_moved(buffer):
    mixed, x, w = edge()
    read = getattr(norms(mixed)[0], buffer)
    total = (read * torch.ones(1, requires_grad=True)).sum()
    mixed(x, w)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        total.backward()


def test_hooks_on_what_is_saved_get_what_the_op_saves(on_memory):
    mixed, x, w = edge()
    expected = gradients(copy.deepcopy(mixed), x, w)
    on_memory.clear()
    for watched in (False, True):
        y = checkpoint(copy.deepcopy(mixed), x, w, use_reentrant=False)
        g = torch.linspace(-1, 1, y.numel()).view(y.shape).contiguous(memory_format=LAST)
        if watched:
            with torch.profiler.profile():
                found = torch.autograd.grad(y, [x, w], g)
        else:
            found = torch.autograd.grad(y, [x, w], g)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=False))
    assert not on_memory

    def full(t):
        raise ValueError("full")

    before = copy.deepcopy(mixed.state_dict())
    with (
        pytest.raises(ValueError, match="full"),
        torch.autograd.graph.saved_tensors_hooks(full, lambda t: t),
    ):
        mixed(x, w)
    assert all(torch.equal(before[k], v) for k, v in mixed.state_dict().items())


@pytest.mark.parametrize("mode", ["real", "fake", "symbolic"])
def test_traced_for_a_graph(on_memory, mode):
    mixed, x, w = edge()
    mixed.requires_grad_(False)
    for norm in norms(mixed):
        norm.track_running_stats = False
    expected = mixed(x, w)
    on_memory.clear()
    traced = make_fx(mixed, tracing_mode=mode, _allow_non_fake_inputs=True)(x.detach(), w.detach())
    assert not on_memory
    torch.testing.assert_close(traced(x.detach(), w.detach()), expected)


def test_no_memory_is_told_in_a_sentence():
    mixed, x, w = edge()
    gone = x.detach().clone(memory_format=torch.preserve_format)
    gone.untyped_storage().resize_(0)
    with pytest.raises(RuntimeError, match="no memory"):
        mixed(gone, w)


def test_a_gradient_of_zeros_that_takes_no_memory(on_memory):
    mixed, x, w = edge(shape=(2, 1, 1))
    y = mixed(x, w)
    found = torch.autograd.grad(y, [x, w], torch._efficientzerotensor(y.shape))
    assert on_memory == ["forward"] and not any(g.any() for g in found)


def test_more_threads_than_parts():
    mixed, x, w = edge(channels=16, shape=(40, 7, 7))
    expected = gradients(copy.deepcopy(mixed), x, w)
    before = torch.get_num_threads()
    with ThreadPoolExecutor(1) as other:
        try:
            torch.set_num_threads(16)
            found = [gradients(copy.deepcopy(mixed), x, w)]
            # What a thread has been told is not what the threads that it wakes are told.
            other.submit(torch.get_num_threads).result()
            torch.set_num_threads(1)
            found.append(other.submit(gradients, copy.deepcopy(mixed), x, w).result())
        finally:
            torch.set_num_threads(before)
    for grads in found:
        for a, b in zip(grads, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def test_shapes_come_and_go(on_memory, monkeypatch):
    monkeypatch.setattr(fused, "_SHAPES", 2)
    mixed, x, w = edge()
    for size in (3, 4, 5, 3):
        mixed(x[:, :, :size, :size].contiguous(memory_format=LAST), w)
    (known,) = vars(mixed.fused)["_snapshots"]
    assert [shape[2] for shape in known.edges] == [5, 3] and len(on_memory) == 4


def test_not_a_number_stays(on_memory):
    mixed, x, w = edge()
    with torch.no_grad():
        x[0, 1, 2, 3] = float("nan")
    plain = copy.deepcopy(mixed)
    y = mixed(x, w)
    assert on_memory and torch.equal(y.isnan(), naive(plain, x, w).isnan())
    for own, other in zip(mixed.buffers(), plain.buffers(), strict=True):
        assert torch.equal(own.isnan(), other.isnan())
