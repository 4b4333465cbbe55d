"""Benchmarks of the ops against their peers, each with the floor.

A benchmark first runs the contract test of its op, and measures nothing when that is red.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from ..core.errors import UsageError
from ..core.files import write_atomic, write_json

__all__ = ["names", "render", "run"]

# A benchmark is a module with measure(rounds, device), and SAMPLE, or NAME and check(device).
# One whose measure returns {"rows": ...} brings render(result) and draw(result, path) too.
_ENTRIES = {
    "convolve": "nas_domains.bench.convolve",
    "elastic-attention": "nas_domains.bench.elastic_attention",
    "mixed-op": "nas_domains.bench.mixed_op",
    "norm-weighted-sum": "nas_domains.bench.norm_weighted_sum",
    "sample-paths": "nas_domains.bench.sample_paths",
    "weighted-sum": "nas_domains.bench.weighted_sum",
}
# What can be counted for a GPU that is not here.
_MODELS = {"mixed-op": "nas_domains.bench.edge_model"}


def names() -> list[str]:
    """Returns the names of the benchmarks."""
    return sorted(_ENTRIES)


def run(
    name: str,
    json: str | Path | None = None,
    plot: str | Path | None = None,
    rounds: int = 50,
    device: str = "cpu",
) -> dict[str, Any]:
    """Runs one benchmark.

    Args:
        name: One of ``names``.
        json: File to write the result to.
        plot: Image file to draw the result to.
        rounds: Samples of each variant; a round takes one of each in turn.
        device: ``auto``, ``cpu`` or ``cuda``; the contract test runs there too. ``model`` counts
            what a GPU would do instead of measuring (mixed-op only).

    Returns:
        ``{"name", "header", "cases": [{"case", "bytes", "floor", "rows"}]}``, times in seconds and
        memory in bytes; a benchmark of its own form has ``"rows"`` instead of the cases.

    Raises:
        UsageError: There is no benchmark of that name or no such device, the op's contract test
            fails, or a file cannot be written.
    """
    if name not in _ENTRIES:
        raise UsageError(f"There is no benchmark {name!r}; use one of {', '.join(names())}.")
    from ..evaluation.context import resolve_device
    from ..testing.op_checks import check_op
    from .harness import header

    if device == "model":
        if name not in _MODELS:
            known = ", ".join(_MODELS)
            raise UsageError(f"--device model is of {known} only; use cpu or cuda for {name}.")
        module = _MODELS[name]
    else:
        module, device = _ENTRIES[name], resolve_device(device)
    entry = importlib.import_module(module)
    try:
        entry.check(device) if hasattr(entry, "check") else check_op(entry.SAMPLE, device)
    except AssertionError as error:
        of = entry.NAME if hasattr(entry, "NAME") else entry.SAMPLE.name
        raise UsageError(
            f"The contract test of {of} fails, so nothing is measured: {error}."
        ) from error
    measured = entry.measure(rounds, device)
    counted = device == "model"
    result = {"name": name, "header": header("cpu" if counted else device)}
    result |= measured if isinstance(measured, dict) else {"cases": measured}
    if json is not None:
        write_json(Path(json), result)
    if plot is not None:
        getattr(entry, "draw", _draw)(result, Path(plot))
    return result


def render(result: dict[str, Any]) -> str:
    """Returns the result of ``run`` as text: header, then a table for each case."""
    lines = []
    for key, value in result["header"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{name} {of or 'missing'}" for name, of in value.items())
        lines.append(f"{key}: {value}")
    if "rows" in result:
        modules = _MODELS if "kernels" in result else _ENTRIES
        own: list[str] = importlib.import_module(modules[result["name"]]).render(result)
        return "\n".join([*lines, "", *own])
    for case in result["cases"]:
        lines += ["", f"{case['case']} (floor {1e3 * case['floor']:.3f} ms)"]
        lines.append(
            f"{'variant':16}{'min ms':>10}{'median ms':>11}{'ratio':>8}{'x floor':>9}"
            f"{'peak MB':>10}"
        )
        for row in case["rows"]:
            lines.append(
                f"{row['variant']:16}{1e3 * row['minimum']:10.3f}{1e3 * row['median']:11.3f}"
                f"{row['ratio']:8.2f}{row['median'] / case['floor']:9.1f}"
                f"{row['memory'] / 1e6:10.1f}"
            )
    lines += [
        "",
        "ratio: median of the first variant over this one's, measured in turn.",
        "peak MB: most memory held at one time beyond the inputs, results included.",
    ]
    return "\n".join(lines)


def _draw(result: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    cases = result["cases"]
    figure = Figure(figsize=(4 * len(cases), 3.5), layout="constrained")
    axes = figure.subplots(1, len(cases), squeeze=False)
    for axis, case in zip(axes[0], cases, strict=True):
        rows = case["rows"]
        axis.bar([row["variant"] for row in rows], [1e3 * row["median"] for row in rows])
        axis.axhline(1e3 * case["floor"], linestyle="--", color="black", label="floor")
        axis.set_title(case["case"], fontsize=7)
        axis.tick_params(axis="x", labelsize=7)
        axis.legend(fontsize=7)
    axes[0][0].set_ylabel("median, ms")
    header = result["header"]
    figure.suptitle(f"{result['name']}: {header['cpu']}, {header['threads']} threads")
    write_atomic(path, lambda file: figure.savefig(file, dpi=120, format="png"))
