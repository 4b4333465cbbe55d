"""The CUDA kernels of the depthwise bank: compiled, and executed as PTX on the CPU."""

import shutil
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.testing.cuda import nvcc
from tests.ops.bank_cases import (
    CASES,
    BankCase,
    bank_cases,
    bwd_args,
    converted,
    draw_inputs,
    fwd_args,
)

from . import cuda
from .ptx import needs_ptxrun, ptxrun

pytestmark = [cuda.needs_nvcc, needs_ptxrun]

OPS = torch.ops.nas_domains
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
INSTANCES = 2 * len(DTYPES)
LARGE = [(64, 16, 32, 32), (64, 64, 8, 8)]


@pytest.fixture(scope="module")
def geometry(tmp_path_factory):
    return cuda.geometry(tmp_path_factory.mktemp("geometry"))


@pytest.fixture(scope="module")
def ptx(tmp_path_factory):
    """The PTX of all kernels, as "fwd" and "bwd"."""
    return {
        kind: cuda.compile_ptx(cuda.instances(kind, DTYPES), tmp_path_factory.mktemp(kind))
        for kind in ("fwd", "bwd")
    }


@pytest.fixture(scope="module")
def bank(ptx, geometry):
    return cuda.bank(ptx["fwd"], ptx["bwd"], geometry)


@pytest.mark.parametrize("architecture", cuda.ARCHITECTURES)
@pytest.mark.parametrize("kind", ["fwd", "bwd"])
def test_no_spills(ptx, kind, architecture):
    used = cuda.ptxas(ptx[kind], architecture)
    assert len(used) == INSTANCES + (2 if kind == "bwd" else 0)  # the sums in both reals
    for name, (registers, spilled) in used.items():
        print(f"{name} on {architecture}: {registers} registers, {spilled} bytes spilled")
        assert spilled == 0, f"{name} spills {spilled} bytes on {architecture}"


def compile_host(kind, architecture, *flags):
    """Compiles a host function with its kernels; returns what nvcc prints."""
    include = Path(torch.__file__).parent / "include"
    return cuda.run(
        nvcc(), *cuda.FLAGS, *cuda.HOST_FLAGS, *flags, f"-I{include}",
        f"-I{cuda.CSRC.parent}", f"-arch={architecture}",
        cuda.CSRC / f"depthwise_bank_{kind}.cu",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["fwd", "bwd"])
def test_the_host_functions_compile(kind, tmp_path):
    # To PTX and without optimisation, as what it makes of the kernels is tested above.
    compile_host(kind, "sm_90", "-ptx", "-Xcicc", "-O0", "-o", tmp_path / "host.ptx")


@pytest.mark.slow
@pytest.mark.parametrize("architecture", cuda.ARCHITECTURES)
@pytest.mark.parametrize("kind", ["fwd", "bwd"])
def test_no_spills_as_built(kind, architecture, tmp_path):
    printed = compile_host(kind, architecture, "-Xptxas", "-v", "-c", "-o", tmp_path / "host.o")
    used = cuda.usage(printed)
    assert len(used) == INSTANCES + (2 if kind == "bwd" else 0)
    assert not any(spilled for _, spilled in used.values()), used


def results(fwd, bwd, inputs, **needs):
    return [*fwd(*fwd_args(inputs)), *bwd(*bwd_args(inputs, **needs))]


def by_reference(inputs):
    return results(OPS.depthwise_bank_fwd, OPS.depthwise_bank_bwd, inputs)


def check_values(bank, case, dtype, seed=0):
    """Checks all results against float64.

    The allowance is 8 times the error of the reference in the same dtype or, where that happens to
    be small, the rounding of the results and 8 roundings of the sum of the absolute terms.
    """
    inputs = draw_inputs(case, dtype, seed)
    exact = by_reference(converted(inputs, torch.Tensor.double))
    terms = by_reference(converted(inputs, lambda t: t.double().abs()))
    plain, ours = by_reference(inputs), results(bank.fwd, bank.bwd, inputs)
    names = ("d", "p", "dx", "dweights", "sums")
    for name, a, b, c, t in zip(names, ours, plain, exact, terms, strict=True):
        assert a.shape == b.shape and a.stride() == b.stride() and a.dtype == b.dtype
        rounding = torch.finfo(a.dtype).eps * c.norm()
        rounding += 8 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps * t.norm()
        off, allowed = (a.double() - c).norm(), max(8 * (b.double() - c).norm(), rounding)
        assert off <= allowed, f"{case}, {dtype}: {name} is off by {off:.2e} > {allowed:.2e}"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_match_float64(bank, case, dtype):
    check_values(bank, case, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@settings(max_examples=40, deadline=None, derandomize=True)
@given(case=bank_cases(), seed=st.integers(0, 1000))
def test_any_shape(bank, dtype, case, seed):
    check_values(bank, case, dtype, seed)


@pytest.mark.parametrize("stride", [1, 2])
def test_bits_do_not_depend_on_the_order_of_blocks(bank, stride):
    inputs = draw_inputs(BankCase((3, 9, 17, 35), stride=stride, scaled=True), torch.float32)
    found = []
    for order in ("forward", "reverse", "random"):
        options = {"strict": True, "order": order, "cross_block": True}
        other = cuda.Bank(bank.geometry, bank.modules, options)
        found.append(results(other.fwd, other.bwd, inputs))
    for others in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], others, strict=True))


@pytest.mark.parametrize("needs", [(True, False), (False, True), (False, False)])
def test_only_what_is_needed(bank, needs):
    inputs = draw_inputs(BankCase((3, 9, 5, 7), scaled=True), torch.float32)
    full = bank.bwd(*bwd_args(inputs))
    got = bank.bwd(*bwd_args(inputs, *needs))
    for a, b, needed in zip(got, full, (*needs, needs[0]), strict=True):
        assert torch.equal(a, b) if needed else a.numel() == 0


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("special", [torch.nan, -torch.inf, torch.inf])
def test_special_values_pass_the_pools_as_in_torch(bank, special, stride):
    inputs = draw_inputs(BankCase((2, 5, 9, 11), (), stride), torch.float32)
    for part in (slice(4), slice(5, 6)):  # whole windows of them, and single ones
        inputs["x"][:, :, part, part] = special
    inputs["coefficients"][:, 1] = 0
    for a, b in zip(results(bank.fwd, bank.bwd, inputs), by_reference(inputs), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True)


@pytest.mark.parametrize("shape", LARGE)
def test_memory_is_read_and_written_about_once(bank, shape):
    inputs = draw_inputs(BankCase(shape), torch.float32)
    outs = results(bank.fwd, bank.bwd, inputs)
    size = {name: value.nbytes for name, value in inputs.items() if torch.is_tensor(value)}
    weights = sum(w.nbytes for w in inputs["weights"])
    d, p, dx, dweights, _ = (out.nbytes for out in outs)
    least = {
        "forward": size["x"] + weights + d + p,
        "backward": size["da"] + size["x"] + size["g"] + size["coefficients"] + weights + dx
        + dweights,
    }  # fmt: skip
    counts = {"forward": ["fwd"], "backward": ["bwd", "sum"]}
    for name, kernels in counts.items():
        launches = [bank.launches[kernel] for kernel in kernels]
        moved = 32 * sum(c.gld_sectors + c.gst_sectors for c in launches)
        print(f"{name} of {shape}: {moved / least[name]:.3f} of the compulsory bytes")
        assert moved <= 1.3 * least[name]
        for kernel, count in zip(kernels, launches, strict=True):
            print(f"{kernel}: {count.load_efficiency:.2f} {count.store_efficiency:.2f}")
            assert count.load_efficiency >= 0.9 and count.store_efficiency >= 0.9
            assert count.local_bytes == 0
            assert count.bank_conflicts <= 0.01 * (count.sld_wavefronts + count.sst_wavefronts)


def test_any_plan_fits_into_shared_memory(bank):
    weights = [torch.empty(64, 1, 5, 5)] * 16
    branches = bank._branches(weights, [2] * 16)
    for dtype in DTYPES:
        for side in (1, 2, 4, 7, 8, 12, 15, 16, 20, 28, 32, 33, 56, 224):
            for other in (1, 8, 14, 30, 64):
                x = torch.empty(64, 64, side, other, dtype=dtype, device="meta")
                for stride in (1, 2):
                    for backward in (False, True):
                        bank._plan(backward, x, branches, stride, True)


SYNC = "  __syncthreads();\n"
MUTANTS = [
    ("fwd", "depthwise_bank_fwd.cuh", SYNC + "\n  tile += c;", "  tile += c;"),
    ("fwd", "depthwise_bank_fwd.cuh", "if (to.has_column(column + j)) pixel", "pixel"),
    ("fwd", "depthwise_bank.cuh", "if (exists && region.has_column(column)) value", "value"),
    ("bwd", "depthwise_bank_bwd.cuh", SYNC + "  for (int i = thr", "  for (int i = thr"),
    ("bwd", "depthwise_bank_bwd.cuh", "if (i % CHUNK < present) to", "to"),
]


@pytest.mark.parametrize(("kind", "file", "text", "instead"), MUTANTS)
def test_a_mutant_is_caught(geometry, tmp_path, kind, file, text, instead):
    folder = shutil.copytree(cuda.CSRC, tmp_path / "cuda")
    source = (folder / file).read_text()
    assert source.count(text) == 1, "a mutation changes one place"
    (folder / file).write_text(source.replace(text, instead))
    module = cuda.compile_ptx(cuda.instances(kind, DTYPES[:1], [1]), tmp_path, folder)
    mutant = cuda.bank(*((module, None) if kind == "fwd" else (None, module)), geometry)
    inputs = draw_inputs(BankCase((2, 9, 9, 5), ((3, 1),)), torch.float32)
    with pytest.raises((ptxrun().PtxError, ptxrun().PtxHazard)):
        if kind == "fwd":
            mutant.fwd(*fwd_args(inputs))
        else:
            mutant.bwd(*bwd_args(inputs))
