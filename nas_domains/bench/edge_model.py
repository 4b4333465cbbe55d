"""What the DARTS mixed edge would cost on a GPU that is not here: bytes, flops, modelled time.

Ours: each kernel's PTX is executed by ptxrun, which counts what it touches. Eager: each operation
that PyTorch dispatches is a kernel that reads its inputs once and writes its outputs once, except
where PyTorch runs two that read theirs again: a batch norm (statistics, then application, and
likewise back) and the gradients of a convolution (of its input, then of its weight). What ours
leaves to torch is counted likewise.

A kernel's modelled time is the larger of its DRAM bytes over the GPU's bandwidth and its flops
over the GPU's rate. Nothing is measured.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ..core.errors import UsageError
from ..core.files import write_atomic
from ..core.progress import Reporter
from ..ops.backend import host_function
from ..testing import cuda, edge_checks
from ..testing.ptx import ptxrun, triton_ops

__all__ = ["GPUS", "NAME", "check", "draw", "measure", "render"]

NAME = "mixed_edge"


@dataclass(frozen=True)
class Gpu:
    """Published peaks of a GPU.

    Attributes:
        bandwidth: Bytes a second.
        float32: Flops a second outside of tensor cores.
        tensor: Flops a second of tensor cores in TF32, dense.
    """

    bandwidth: float
    float32: float
    tensor: float


GPUS = {
    "H100": Gpu(3.35e12, 67e12, 494e12),
    "A100": Gpu(2.04e12, 19.5e12, 156e12),
}
SHAPES = ((64, 16, 32), (64, 64, 8))


@dataclass(frozen=True)
class Kernel:
    """One launch.

    Attributes:
        variant: ``ours`` or ``eager``.
        phase: ``forward`` or ``backward``.
        name: Of the kernel or operation.
        dram: Bytes that must come from or go to memory if caches are perfect within the launch.
        sectors: Bytes of the 32-byte sectors that its instructions touch; 0 where not counted.
        flops: Float operations outside of tensor cores.
        tensor: In tensor cores.
    """

    variant: str
    phase: str
    name: str
    dram: int
    sectors: int = 0
    flops: int = 0
    tensor: int = 0

    def seconds(self, gpu: Gpu) -> float:
        """The modelled time."""
        work = self.flops / gpu.float32 + self.tensor / gpu.tensor
        return max(self.dram / gpu.bandwidth, work)


class _Operations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each operation of torch that is a kernel on a GPU."""

    def __init__(self, variant: str, phase: str, found: list[Kernel]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.variant, self.phase, self.found = variant, phase, found

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func.namespace == "nas_domains":
            host = host_function(func.overloadpacket.__name__)
            if host is None:
                return func(*args, **kwargs)
            with self:  # what it asks of torch counts
                return host(*args, **kwargs)
        out = func(*args, **kwargs)
        moved = _moved(func, args, kwargs, out)
        if moved:
            work = _flops(func, args, out)
            self.found.append(Kernel(self.variant, self.phase, str(func), moved, flops=work))
        return out


# Operations that only make tensors, and what the player of kernels asks of torch itself.
_READ_NOTHING = ("new_", "zeros", "ones", "full", "fill_")
_NO_KERNEL = ("empty", "set_")


def _moved(func: Any, args: Any, kwargs: Any, out: Any) -> int:
    """Bytes that the kernels of an operation read and write; 0 if it has none."""
    name = func.overloadpacket.__name__
    inputs, outputs = _tensors([args, kwargs]), _tensors(out)
    storages = {t.untyped_storage()._cdata for t in inputs}
    own = [t for t in outputs if t.untyped_storage()._cdata not in storages]
    if any(part in name for part in _NO_KERNEL) or not (own or func._schema.is_mutable):
        return 0
    if any(part in name for part in _READ_NOTHING):
        inputs = []
    moved = sum(t.nbytes for t in (*inputs, *outputs))
    if name == "native_batch_norm":
        moved += inputs[0].nbytes
    elif name == "native_batch_norm_backward":
        moved += inputs[0].nbytes + inputs[1].nbytes
    elif name == "convolution_backward":
        moved += inputs[0].nbytes
    return moved


def _flops(func: Any, args: Any, out: Any) -> int:
    """Of a convolution or its gradients; other operations are bound by memory."""
    name = func.overloadpacket.__name__
    if name not in ("convolution", "convolution_backward"):
        return 0
    back = name == "convolution_backward"
    y, weight = (args[0], args[2]) if back else (out, args[1])
    return (4 if back else 2) * int(y.numel()) * int(weight[0].numel())


def _tensors(tree: Any) -> list[Tensor]:
    return [t for t in torch.utils._pytree.tree_leaves(tree) if isinstance(t, Tensor)]


def check(device: str) -> None:
    """Runs the contract of the op, played by ptxrun.

    Raises:
        UsageError: ptxrun, nvcc or Triton is not here.
        AssertionError: The contract is broken.
    """
    try:
        import triton  # noqa: F401
    except ImportError:
        raise UsageError(
            "--device model needs the package triton; install nas_domains[triton]."
        ) from None
    ptxrun()
    if not cuda.CSRC.is_dir() or os.environ.get("TRITON_INTERPRET") == "1":
        raise UsageError(
            "--device model needs a source checkout and Triton's compiler; run it in a clone of "
            "the repository without TRITON_INTERPRET."
        )
    with tempfile.TemporaryDirectory() as folder, _played(Path(folder)):
        for shape, stride in (((2, 4, 7, 9), 1), ((2, 16, 5, 6), 2)):
            branches = edge_checks.DARTS if stride == 1 else edge_checks.every_branch(2, 16)
            edge_checks.check_values(edge_checks.EdgeCase(shape, branches, stride), torch.float32)


class _played:
    """Context in which the edge's kernels run under ptxrun; ``launches()`` are those since."""

    def __init__(self, folder: Path) -> None:
        sources = {kind: cuda.instances(kind, [torch.float32]) for kind in ("fwd", "bwd")}
        paths = {kind: folder / kind for kind in sources}
        for path in paths.values():
            path.mkdir()
        compiled = [cuda.compile_ptx(sources[kind], paths[kind]) for kind in ("fwd", "bwd")]
        self.bank = cuda.bank(compiled[0], compiled[1], cuda.geometry(folder))

    def __enter__(self) -> _played:
        self.stack = ExitStack()
        self.triton = self.stack.enter_context(triton_ops())
        self.stack.enter_context(cuda.played_bank(self.bank))
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()

    def launches(self) -> list[tuple[str, Any]]:
        """(name, counts of ptxrun) of the launches since the last call."""
        found = [(launch.name, launch.counts) for launch in self.triton.launches]
        found += self.bank.history
        self.triton.launches.clear()
        self.bank.history.clear()
        return found


def measure(rounds: int, device: str) -> dict[str, Any]:
    """Returns ``{"rows": [...], "kernels": [...]}``, counted once: ``rounds`` has no meaning."""
    kernels: list[dict[str, Any]] = []
    rows = []
    with (
        tempfile.TemporaryDirectory() as folder,
        Reporter().bar("mixed-op model", 2 * len(SHAPES), "shapes") as advance,
    ):
        play = _played(Path(folder))
        for i, shape in enumerate(SHAPES):
            found = _eager(shape)
            advance(2 * i + 1)
            found += _ours(shape, play)
            advance(2 * i + 2)
            text = ",".join(map(str, shape))
            kernels += [{"shape": text, **k.__dict__} for k in found]
            rows += _rows(text, shape, found)
    return {"rows": rows, "kernels": kernels}


def _rows(text: str, shape: tuple[int, int, int], found: list[Kernel]) -> list[dict[str, Any]]:
    batch, channels, side = shape
    one = 4 * batch * channels * side**2
    rows = []
    for variant in ("ours", "eager"):
        for phase in ("forward", "backward", "both"):
            own = [k for k in found if k.variant == variant and phase in (k.phase, "both")]
            rows.append(
                {
                    "op": "mixed_edge",
                    "shape": text,
                    "pass": phase,
                    "backend": variant,
                    "kernels": len(own),
                    "dram_bytes": sum(k.dram for k in own),
                    "sector_bytes": sum(k.sectors for k in own),
                    "maps": sum(k.dram for k in own) / one,
                    "flops": sum(k.flops + k.tensor for k in own),
                    "modelled_ms": {
                        name: 1e3 * sum(k.seconds(gpu) for k in own) for name, gpu in GPUS.items()
                    },
                }
            )
    return rows


def _eager(shape: tuple[int, int, int]) -> list[Kernel]:
    """The edge as published, on tensors without memory."""
    from .mixed_op import PlainEdge

    batch, channels, side = shape
    found: list[Kernel] = []
    with torch.device("meta"):
        edge = PlainEdge(channels, 1)
        edge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        x = torch.empty(batch, channels, side, side)
        x = x.contiguous(memory_format=torch.channels_last).requires_grad_()
        w = torch.empty(8, requires_grad=True)
    _both(lambda: edge(x, w), [x, w, *edge.parameters()], "eager", found)
    return found


def _both(
    call: Callable[[], Tensor], leaves: list[Tensor], variant: str, found: list[Kernel]
) -> None:
    with _Operations(variant, "forward", found):
        y = call()
    g = torch.ones_like(y)
    with _Operations(variant, "backward", found):
        torch.autograd.grad(y, leaves, g)


def _ours(shape: tuple[int, int, int], play: _played) -> list[Kernel]:
    from ..ops import mixed_edge

    batch, channels, side = shape
    case = edge_checks.EdgeCase((batch, channels, side, side))
    inputs, given = edge_checks.tensors(case, torch.float32)
    x, w, *params = (t.requires_grad_() for t in inputs)
    found: list[Kernel] = []
    with play:
        with _Operations("ours", "forward", found):
            y = mixed_edge(x, w, params, case.branches)[0]
        found += _counted(play, "forward")
        g = given["g"].contiguous(memory_format=torch.channels_last)
        with _Operations("ours", "backward", found):
            torch.autograd.grad(y, [x, w, *params], g)
        found += _counted(play, "backward")
    return found


def _counted(play: _played, phase: str) -> list[Kernel]:
    kernels = []
    for name, counts in play.launches():
        touched = sum(
            b["touched_read_sectors"] + b["touched_write_sectors"] for b in counts.buffers
        )
        kernels.append(
            Kernel(
                "ours",
                phase,
                name,
                32 * touched,
                32 * (counts.gld_sectors + counts.gst_sectors),
                counts.flops_f32,
                counts.flops_mma,
            )
        )
    return kernels


def render(result: dict[str, Any]) -> list[str]:
    """Returns the totals, then both variants kernel by kernel."""
    lines = [
        f"{'B,C,H':12}{'pass':10}{'variant':9}{'kernels':>8}{'DRAM MB':>9}{'maps':>7}"
        f"{'sectors MB':>11}{'GFLOP':>7}" + "".join(f"{name + ' ms':>10}" for name in GPUS)
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['shape']:12}{row['pass']:10}{row['backend']:9}{row['kernels']:8d}"
            f"{row['dram_bytes'] / 1e6:9.1f}{row['maps']:7.1f}{row['sector_bytes'] / 1e6:11.1f}"
            f"{row['flops'] / 1e9:7.2f}"
            + "".join(f"{ms:10.3f}" for ms in row["modelled_ms"].values())
        )
    for shape in dict.fromkeys(row["shape"] for row in result["rows"]):
        lines += ["", f"{shape}, kernel by kernel:"]
        groups: dict[tuple[str, str, str], list[int]] = {}
        for k in result["kernels"]:
            if k["shape"] == shape:
                key = k["variant"], k["phase"], k["name"]
                groups.setdefault(key, []).append(k["dram"])
        for (variant, phase, name), dram in groups.items():
            lines.append(
                f"  {variant:7}{phase:10}{name:48}x{len(dram):<4}{sum(dram) / 1e6:8.2f} MB"
            )
    return [
        *lines,
        "",
        "ms: modelled, not measured: the larger of bytes over bandwidth and flops over rate of",
        "each kernel, launches free. DRAM MB: each byte that a kernel touches, once.",
        "maps: DRAM bytes in maps of the size of x. sectors MB: counted by ptxrun, ours only.",
    ]


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws the DRAM traffic of both variants, forward and backward, in maps."""
    from matplotlib.figure import Figure

    rows = [row for row in result["rows"] if row["pass"] != "both"]
    shapes = list(dict.fromkeys(row["shape"] for row in rows))
    figure = Figure(figsize=(3.2 * len(shapes), 3.6), layout="constrained")
    axes = figure.subplots(1, len(shapes), squeeze=False, sharey=True)[0]
    for axis, shape in zip(axes, shapes, strict=True):
        below = {"ours": 0.0, "eager": 0.0}
        for phase, colour in (("forward", "tab:orange"), ("backward", "tab:gray")):
            own = {
                r["backend"]: r["maps"] for r in rows if (r["shape"], r["pass"]) == (shape, phase)
            }
            bars = axis.bar(
                list(own), list(own.values()), bottom=[below[n] for n in own], color=colour,
                label=phase,
            )  # fmt: skip
            axis.bar_label(bars, fmt="%.0f", label_type="center", fontsize=8)
            below = {name: below[name] + maps for name, maps in own.items()}
        axis.set_title(shape, fontsize=9)
        axis.margins(y=0.1)
    axes[0].set_ylabel("maps moved (counted, not measured)")
    axes[0].legend(fontsize=8, loc="upper left")
    figure.suptitle("mixed edge on a GPU: DRAM traffic")
    write_atomic(path, lambda file: figure.savefig(file, dpi=120, format="png"))
