"""Benchmark of the DARTS mixed operation against eager PyTorch and torch.compile, in both layouts.

Every variant is the whole edge as a supernet runs it, statistics included: a ``MixedOp``, and the
same candidates one by one as in Liu et al. 2019.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.files import write_atomic
from ..core.progress import Reporter
from ..nn.candidates import DARTS
from ..nn.fused import has_kernels
from ..nn.mixed import MixedOp
from ..ops.backend import native_module
from ..testing.edge_checks import check_mixed_edge
from .harness import arithmetic_rate, copy_rate
from .steps import Step, replayed

__all__ = ["NAME", "check", "draw", "measure", "render"]

NAME = "mixed_edge"
SHAPES = ((64, 16, 32), (64, 32, 16), (64, 64, 8), (64, 4, 28))
GRADS = ("all", "arch", "weights")
PASSES = ("forward", "backward", "both")
# Maps that must be read or written once: of the size of x, and of that of the output.
MAPS = {"forward": (2, 13), "backward": (3, 19), "both": (5, 32)}

Variant = tuple[Callable[[Tensor, Tensor], Tensor], list[nn.Parameter], torch.memory_format]


class PlainEdge(nn.Module):
    """The mixed operation as published: each candidate in turn, weighted and added."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.candidates = nn.ModuleList(
            make(channels, stride, False, 2) for make in DARTS.values()
        )

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """[B, C, H, W] and [K] -> [B, C, ...]."""
        terms = [weight * c(x) for weight, c in zip(w, self.candidates, strict=True)]
        total: Tensor = sum(terms[1:], terms[0])
        return total


def check(device: str) -> None:
    """Runs the contract of the op.

    Raises:
        UsageError: The op has no kernels there.
        AssertionError: The contract is broken.
    """
    if device == "cpu" and native_module() is None:
        raise UsageError(
            "The benchmark mixed-op needs the compiled module nas_domains._C; reinstall with a "
            "C++ compiler."
        )
    if device != "cpu" and not has_kernels(torch.device(device)):
        raise UsageError(
            "The benchmark mixed-op needs the CUDA kernels, triton and compute capability 8.0; "
            "reinstall nas_domains[triton] with NAS_DOMAINS_BUILD=cuda."
        )
    check_mixed_edge(device)


def measure(rounds: int, device: str) -> dict[str, Any]:
    """Returns ``{"rows": [...]}``: a row for each shape, stride, gradients, pass and variant.

    The floor is the larger of two times: the multiplications and additions inside the image at the
    measured rate of arithmetic, and the bytes of 37 maps (15 forward, 22 backward) at the
    measured rate of a copy of as many.
    """
    rate = arithmetic_rate(device)
    settings = [(shape, 1, grads) for shape in SHAPES for grads in GRADS]
    settings.append(((64, 32, 16), 2, "all"))
    rows = []
    with Reporter().bar("mixed-op", len(settings), "settings") as advance:
        for done, (shape, stride, grads) in enumerate(settings, 1):
            rows += _rows(shape, stride, grads, rounds, rate, device)
            advance(done)
    return {"rows": rows}


def _variants(channels: int, stride: int, grads: str, device: str) -> dict[str, Variant]:
    torch.compiler.reset()
    found: dict[str, Variant] = {}

    def add(name: str, module: nn.Module, compiled: bool, form: torch.memory_format) -> None:
        module = module.to(device, memory_format=form)  # type: ignore[call-overload]
        parameters = list(module.parameters())
        for parameter in parameters:
            parameter.requires_grad_(grads != "arch")
        call: Any = torch.compile(module) if compiled else module
        found[name] = call, [p for p in parameters if p.requires_grad], form

    plain, last = torch.contiguous_format, torch.channels_last
    add("native", MixedOp(DARTS, channels, stride, 2), False, last)
    add("eager", PlainEdge(channels, stride), False, plain)
    add("eager-channels-last", PlainEdge(channels, stride), False, last)
    # Compiling takes a minute each: only where all gradients are asked for.
    if grads == "all" and stride == 1:
        add("compile", PlainEdge(channels, stride), True, plain)
        add("compile-channels-last", PlainEdge(channels, stride), True, last)
    return found


def _rows(
    shape: tuple[int, int, int],
    stride: int,
    grads: str,
    rounds: int,
    rate: float,
    device: str,
) -> list[dict[str, Any]]:
    batch, channels, side = shape
    x = torch.randn(batch, channels, side, side, device=device)
    w = torch.full((len(DARTS),), 1 / len(DARTS), device=device)
    out = -(-side // stride)
    g = torch.randn(batch, channels, out, out, device=device)
    steps: dict[str, Callable[[], tuple[float, float]]] = {}
    for name, (call, parameters, form) in _variants(channels, stride, grads, device).items():
        own = x.contiguous(memory_format=form).requires_grad_()
        weight = w.clone().requires_grad_(grads != "weights")
        leaves = [own, *([weight] if weight.requires_grad else []), *parameters]
        steps[name] = Step(call, own, weight, leaves, g.contiguous(memory_format=form))
    saved = {name: _saved_bytes(step) for name, step in steps.items()}
    native = steps["native"]
    if device == "cuda" and isinstance(native, Step):
        steps["native-graph"] = replayed(native)
        saved["native-graph"] = saved["native"]
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(2):
            step()
    for _ in range(rounds):
        for name, step in steps.items():
            samples[name].append(step())
    floors = _floors(batch, channels, side, stride, grads, rate, device)
    rows = []
    for one in PASSES:
        times = {
            n: [_of(one, s) for s in found]
            for n, found in samples.items()
            if one == "both" or n != "native-graph"
        }
        medians = {name: statistics.median(found) for name, found in times.items()}
        peers = [m for name, m in medians.items() if not name.startswith("native")]
        for name, found in times.items():
            rows.append(
                {
                    "op": "mixed_edge",
                    "shape": ",".join(map(str, shape)),
                    "pass": one,
                    "backend": name,
                    "stride": stride,
                    "dtype": "float32",
                    "grads": grads,
                    "threads": torch.get_num_threads(),
                    "ms_min": 1e3 * min(found),
                    "ms_median": 1e3 * medians[name],
                    "saved_bytes": saved[name],
                    "floor_ms": 1e3 * floors[one],
                    "ratio_to_best_peer": min(peers) / medians[name],
                    "ratio_to_eager": medians["eager"] / medians[name],
                }
            )
    return rows


def _of(one: str, sample: tuple[float, float]) -> float:
    return {"forward": sample[0], "backward": sample[1], "both": sum(sample)}[one]


def _saved_bytes(step: Callable[[], object]) -> int:
    """Bytes of the storages kept for the backward, parameters left out."""
    storages: dict[int, int] = {}

    def pack(t: Tensor) -> Tensor:
        if not isinstance(t, nn.Parameter):
            storage = t.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        step()
    return sum(storages.values())


def _floors(
    batch: int,
    channels: int,
    side: int,
    stride: int,
    grads: str,
    rate: float,
    device: str,
) -> dict[str, float]:
    """Seconds that each pass takes at least."""
    out = -(-side // stride)

    def window(kernel: int, dilation: int, step: int, inside: int) -> int:
        """Taps of all outputs of an image that lie in it."""
        offsets = [dilation * (i - kernel // 2) for i in range(kernel)]
        line = sum(0 <= step * j + o < inside for j in range(out) for o in offsets)
        return line * line

    depthwise = sum(window(k, 2, stride, side) for k in (3, 5))
    depthwise += sum(window(k, 1, stride, side) + window(k, 1, 1, out) for k in (3, 5))
    macs = batch * channels * depthwise, 6 * batch * channels * channels * out * out
    forward = 2 * sum(macs)
    # Gradients of inputs; those of weights, for which the depthwise outputs are made again.
    backward = forward + (forward + 2 * macs[0] if grads != "arch" else 0)
    flops = {"forward": forward, "backward": backward, "both": forward + backward}
    pixels = {name: MAPS[name][0] * side * side + MAPS[name][1] * out * out for name in PASSES}
    moved = {name: 4 * batch * channels * pixels[name] for name in PASSES}
    return {
        name: max(flops[name] / rate, moved[name] / copy_rate(moved[name] // 2, device))
        for name in PASSES
    }


def render(result: dict[str, Any]) -> list[str]:
    """Returns the rows as a table."""
    lines = [
        f"{'B,C,H':12}{'stride':>7} {'grads':8}{'pass':9}{'backend':22}{'min ms':>9}{'median':>9}"
        f"{'x floor':>8}{'saved MB':>9}{'best peer':>10}{'eager':>7}"
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['shape']:12}{row['stride']:7d} {row['grads']:8}{row['pass']:9}"
            f"{row['backend']:22}{row['ms_min']:9.2f}{row['ms_median']:9.2f}"
            f"{row['ms_median'] / row['floor_ms']:8.1f}{row['saved_bytes'] / 1e6:9.1f}"
            f"{row['ratio_to_best_peer']:10.2f}{row['ratio_to_eager']:7.2f}"
        )
    return [
        *lines,
        "",
        "best peer, eager: their median over this one's, sampled in turn; above 1 is faster.",
        "saved MB: kept between forward and backward, the input included, parameters not.",
    ]


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws the medians of forward and backward together, beside the floor."""
    from matplotlib.figure import Figure

    rows = [r for r in result["rows"] if r["pass"] == "both" and r["grads"] == "all"]
    groups = list(dict.fromkeys((r["shape"], r["stride"]) for r in rows))
    figure = Figure(figsize=(3 * len(groups), 3.8), layout="constrained")
    axes = figure.subplots(1, len(groups), squeeze=False)[0]
    for axis, (shape, stride) in zip(axes, groups, strict=True):
        own = [r for r in rows if (r["shape"], r["stride"]) == (shape, stride)]
        bars = axis.bar(
            [r["backend"] for r in own],
            [r["ms_median"] for r in own],
            color=["tab:orange" if r["backend"] == "native" else "tab:gray" for r in own],
        )
        axis.bar_label(bars, fmt="%.1f", fontsize=7)
        axis.axhline(own[0]["floor_ms"], linestyle="--", color="black", label="floor")
        axis.set_title(f"{shape}, stride {stride}", fontsize=8)
        axis.tick_params(axis="x", labelsize=7, rotation=90)
        axis.margins(y=0.15)
        axis.legend(fontsize=7, loc="upper left")
    axes[0].set_ylabel("median, ms")
    figure.suptitle(f"mixed edge, forward and backward, {result['header']['threads']} threads")
    write_atomic(path, lambda file: figure.savefig(file, dpi=120, format="png"))
