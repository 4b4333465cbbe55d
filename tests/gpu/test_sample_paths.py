"""The Triton kernels of sample_paths, executed as PTX: the CPU's bits, stray accesses, bytes."""

import hashlib
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

pytest.importorskip("triton", reason="the Triton kernels need triton")
from nas_domains.kernels import sample_paths as kernels

from nas_domains import ops
from nas_domains.testing import path_checks
from nas_domains.testing.op_checks import missing
from nas_domains.testing.path_checks import MODES, PathCase

from .ptx import mutant, needs_ptxrun, played, ptxrun, triton_ops

SEED, FAR = 2**64 - 3, 2**33 + 7
# Edges and options, the share that is never drawn, paths, the first one's number, and k.
DRAWS = [
    (PathCase(20, 8), 600, FAR, 1),  # more than a program draws, and digits that tie
    (PathCase(20, 8, 0.4), 70, 16, 2),
    (PathCase(33, 5, 0.4), 70, FAR, 1),
    (PathCase(2, 129, 0.2), 40, 2**32 - 20, 3),
    (PathCase(1, 1), 9, 5, 1),
]
DIGEST = "63ad54edd2895d4b"


def draw(case, n, offset, k, mode, seed=SEED):
    k = k if mode == "gumbel" else 1
    return ops.sample_paths(case.logits(), n, mode, seed=seed, offset=offset, k=k)


def digest():
    """Of the paths of all modes, as the backend in use draws them."""
    paths = [draw(PathCase(20, 8, 0.2), 64, FAR, 2, mode) for mode in MODES]
    return hashlib.sha256(b"".join(p.numpy().tobytes() for p in paths)).hexdigest()[:16]


@pytest.mark.parametrize("name", ["reference", "native"])
def test_digest_on_the_cpu(name):
    if missing(name):
        pytest.skip("the native backend needs the compiled module")
    with ops.backend(name):
        assert digest() == DIGEST


@needs_ptxrun
@pytest.mark.parametrize("order", ["forward", "reverse"])
def test_digest_as_ptx(order):
    with triton_ops(order) as play:
        assert digest() == DIGEST
    assert len(play.launches) == 5  # fair has two kernels


def test_digest_under_the_interpreter():
    program = (
        "from nas_domains import ops\n"
        "from tests.gpu.test_sample_paths import digest\n"
        "with ops.backend('triton'):\n"
        "    print(digest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == [DIGEST], done.stderr[-2000:]


@needs_ptxrun
@pytest.mark.parametrize("order", ["forward", "reverse"])
@pytest.mark.parametrize(("case", "n", "offset", "k"), DRAWS, ids=str)
def test_paths_are_those_of_the_cpu(case, n, offset, k, order):
    for mode in MODES:
        expected = draw(case, n, offset, k, mode)
        with triton_ops(order) as play:
            found = draw(case, n, offset, k, mode)
        assert play.launches
        assert found.dtype == expected.dtype and found.stride() == expected.stride()
        assert torch.equal(found, expected), f"{case} {mode}: other paths than on the CPU"


@needs_ptxrun
def test_a_race_of_more_options_than_a_program_holds():
    case = PathCase(2, kernels.TIMES + 300, 0.2)
    expected = draw(case, 3, FAR, 3, "gumbel")
    with triton_ops() as play:
        assert torch.equal(draw(case, 3, FAR, 3, "gumbel"), expected)
    assert play.launches[0].name == "_long_race_kernel"


@needs_ptxrun
@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    case=st.builds(
        PathCase,
        st.integers(2, 40),
        st.integers(2, 9),
        st.sampled_from([0, 0.5]),
        st.integers(0, 9),
    ),
    n=st.integers(0, 90),
    seed=st.integers(0, 2**64 - 1),
    offset=st.integers(0, 2**40),
)
def test_any_shape_seed_and_offset(case, n, seed, offset):
    for mode in MODES:
        expected = draw(case, n, offset, 1, mode, seed)
        with triton_ops():
            assert torch.equal(draw(case, n, offset, 1, mode, seed), expected)


@needs_ptxrun
def test_philox_gives_the_published_words():
    with triton_ops() as play:
        path_checks.check_philox()
    assert {launch.name for launch in play.launches} == {"_philox_kernel"}


@needs_ptxrun
def test_stores_fill_their_sectors():
    """Of 4,096 paths of 20 choices of 8 options; what loads touch, caches hold."""
    for mode in MODES:
        with triton_ops() as play:
            draw(PathCase(20, 8), 4096, 0, 1, mode)
        for launch in play.launches:
            counts = launch.counts
            share = counts.gst_bytes / (32 * counts.gst_sectors)
            each = counts.thread_insts / (4096 * 20)
            print(f"{mode}, {launch.name}: {share:.2f} of the sectors stored, ", end="")
            print(f"{counts.gst_bytes} bytes, {each:.0f} instructions a choice")
            assert share >= 0.9


@needs_ptxrun
def test_a_missing_mask_is_caught(tmp_path):
    masked = "tl.store(to, values, mask=_inside(begin, total, SIZE))"
    broken = mutant(kernels, masked, "tl.store(to, values)", tmp_path)
    thresholds = torch.ops.nas_domains.sample_paths_table(torch.zeros(3, 4), "uniform", 1)
    for module, error in ((kernels, None), (broken, ptxrun().PtxError)):
        with played(), nullcontext() if error is None else pytest.raises(error, match="buffer"):
            module.sample_paths_choose(thresholds, 5, 0, 0)


@needs_ptxrun
def test_times_are_rounded_one_operation_after_the_other(tmp_path):
    size = "SIZE=TIMES // columns,\n            enable_fp_fusion="
    fused = mutant(kernels, f"{size}False", f"{size}True", tmp_path)
    scales = torch.ops.nas_domains.sample_paths_table(torch.zeros(3, 4), "gumbel", 1)
    for module, some in ((kernels, False), (fused, True)):
        with played() as play:
            module.sample_paths_race(scales, 5, 1, 0, 0)
        assert any(name.startswith("fma") for name in play.launches[0].counts.opcodes()) == some


class _Calls(TorchDispatchMode):
    """Notes each operator of torch that is called."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **kwargs or {})


@needs_ptxrun
def test_no_value_is_read_on_the_host():
    """So that a launch waits for nothing, and a CUDA graph can hold it."""
    tables = torch.ops.nas_domains.sample_paths_table
    logits = torch.zeros(3, 4)
    allowed, scales, thresholds = (tables(logits, m, 1) for m in ("fair", "gumbel", "uniform"))
    with played(), _Calls() as calls:
        kernels.sample_paths_choose(thresholds, 5, 0, 3)
        kernels.sample_paths_fair(allowed, 5, 0, 3)
        kernels.sample_paths_race(scales, 5, 1, 0, 3)
    # The last three are how ptxrun is given tensors.
    assert calls.names <= {"cumsum", "new_empty", "as_strided", "empty", "set_"}


def test_what_the_public_function_would_not_pass_is_refused():
    for table, n, offset in ((torch.zeros(3).long(), 1, 0), (torch.zeros(2, 2), 1, 0)):
        with pytest.raises(RuntimeError, match="would not pass"):
            kernels.sample_paths_choose(table, n, 0, offset)
    with pytest.raises(RuntimeError, match="k must be 1"):
        kernels.sample_paths_race(torch.ones(2, 2).double(), 3, 3, 0, 0)
