"""Ops on a real GPU; skipped where there is none."""

import pytest
import torch

from nas_domains import ops
from nas_domains.bench.steps import Step, replayed
from nas_domains.nn.candidates import DARTS
from nas_domains.nn.mixed import MixedOp
from nas_domains.testing import op_checks, path_checks
from nas_domains.testing.edge_checks import check_mixed_edge
from nas_domains.testing.ops import SAMPLES, OpCase

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is present"),
]


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_op_matches_float64(name, dtype):
    sample = SAMPLES[name]
    for case in (*sample.cases, OpCase((64, 16, 32, 32), 8, ("channels_last",))):
        op_checks.check_values(sample, case, dtype, device="cuda")


def step(call, tensors):
    leaves = [t.cuda().requires_grad_() for t in tensors]
    y = call(*leaves)
    return [y.detach(), *torch.autograd.grad(y.sin().sum(), leaves)]


@pytest.mark.parametrize("name", SAMPLES)
def test_bits_repeat_and_compiling_changes_nothing(name):
    sample = SAMPLES[name]
    tensors = sample.inputs(OpCase((67, 1031)), torch.float32, 0)
    first = step(sample.call, tensors)
    for a, b in zip(first, step(sample.call, tensors), strict=True):
        assert torch.equal(a, b)
    compiled = step(torch.compile(sample.call, fullgraph=True), tensors)
    for a, b in zip(first, compiled, strict=True):
        torch.testing.assert_close(a, b)


def test_the_mixed_edge_matches_float64():
    check_mixed_edge("cuda")


@pytest.mark.parametrize("channels", [16, 72])
def test_the_mixed_edge_can_be_captured_and_autocast(channels):
    edge = MixedOp(DARTS, channels, 1, 2).cuda().to(memory_format=torch.channels_last)
    x = torch.randn(8, channels, 16, 16, device="cuda").to(memory_format=torch.channels_last)
    w = torch.full((8,), 0.125, device="cuda", requires_grad=True)
    step = Step(edge, x.requires_grad_(), w, [x, w, *edge.parameters()], torch.ones_like(x))
    assert sum(replayed(step)()) > 0
    with torch.autocast("cuda", torch.bfloat16):
        y = edge(x, w)
    assert y.dtype == torch.float32 and y.isfinite().all()


def test_auto_takes_a_gpu_kernel():
    assert ops.active("cuda")["weighted_sum_fwd"] in ("native", "triton")


def test_sample_paths():
    path_checks.check_sample_paths("cuda")


@pytest.mark.parametrize("mode", path_checks.MODES)
def test_paths_of_a_cuda_graph_are_those_of_the_cpu(mode):
    namespace = torch.ops.nas_domains
    names = {"fair": ("fair", ()), "gumbel": ("race", (2,))}
    name, k = names.get(mode, ("choose", ()))
    draw = getattr(namespace, f"sample_paths_{name}")
    table = namespace.sample_paths_table(path_checks.PathCase(20, 8).logits(), mode, 2)
    args = (600, *k, 3, 2**33 + 7)
    on_gpu = table.cuda()
    draw(on_gpu, *args)  # compiles
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        paths = draw(on_gpu, *args)
    paths.zero_()
    graph.replay()
    assert torch.equal(paths.cpu(), draw(table, *args))
