"""Benchmark of path sampling: the op ``sample_paths``, and ``PathSampler`` under limits.

Everything runs on one core. Peers: numpy and torch drawing the same kind of paths, and for limits
the drawing of architectures with numpy until one keeps the limit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import ops
from ..core.errors import UsageError
from ..core.files import write_atomic
from ..testing import path_checks
from ..testing.op_checks import missing, use_variant
from .harness import compare

__all__ = ["NAME", "check", "draw", "measure", "render"]

NAME = "sample_paths"
EDGES, OPTIONS = 20, 8
PATHS = 100_000
"""Paths a sample of the op; slower variants draw fewer."""
FRACTIONS = (1e-2, 1e-3, 1e-4)

Array = np.ndarray[Any, Any]
Variant = tuple[Callable[[], object], float]
"""A call, and how many paths (or qualifying architectures, on average) it draws."""


def check(device: str) -> None:
    """Runs the contract of the op and of ``PathSampler``.

    Raises:
        UsageError: The device is a GPU, or ``PathSampler`` was not compiled.
        AssertionError: The contract is broken.
    """
    if device != "cpu":
        raise UsageError("The benchmark sample-paths measures the CPU: use --device cpu.")
    if importlib.util.find_spec("nas_domains._sampler") is None:
        raise UsageError(
            "The benchmark sample-paths needs the compiled module nas_domains._sampler; reinstall "
            "with a C++ compiler."
        )
    path_checks.check_sample_paths(device)
    path_checks.check_path_sampler()


def measure(rounds: int, device: str) -> dict[str, Any]:
    """Returns ``{"rows": [...]}``, one row for each variant; see :func:`render` for its fields."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = []
        for mode in path_checks.MODES:
            rows += _rows("sample_paths", f"{EDGES}x{OPTIONS}", mode, 1.0, _op(mode), rounds)
        for space in (_wide(), _ofa()):
            for fraction in FRACTIONS:
                accepted, variants = _limited(space, fraction)
                rows += _rows("PathSampler", space.name, "limit", accepted, variants, rounds)
    finally:
        torch.set_num_threads(before)
    return {"rows": rows}


def _rows(
    op: str, space: str, mode: str, accepted: float, variants: dict[str, Variant], rounds: int
) -> list[dict[str, Any]]:
    timed = compare({name: call for name, (call, _) in variants.items()}, rounds, warmup=1)
    rates = {row.variant: variants[row.variant][1] / row.median for row in timed}
    best = {row.variant: variants[row.variant][1] / row.minimum for row in timed}
    ours = next(iter(rates.values()))
    return [
        {
            "op": op,
            "space": space,
            "mode": mode,
            "accepted_fraction": accepted,
            "backend": name,
            "per_second": rate,
            "per_second_best": best[name],
            "ratio": ours / rate,
            "threads": 1,
        }
        for name, rate in rates.items()
    ]


def _op(mode: str) -> dict[str, Variant]:
    logits = torch.randn((EDGES, OPTIONS), generator=torch.Generator().manual_seed(0))
    n = PATHS if mode in ("uniform", "categorical") else PATHS // 10
    k = 2 if mode == "gumbel" else 1

    def native(variant: str) -> Callable[[], object]:
        def call() -> object:
            with use_variant(variant):
                return ops.sample_paths(logits, n, mode, seed=1, k=k)

        return call

    found: dict[str, Variant] = {}
    for isa in ("avx512", "avx2", "portable"):
        if missing(f"native-{isa}") is None:
            found[f"native-{isa}"] = native(f"native-{isa}"), n
    few = PATHS // 100

    def reference() -> object:
        with ops.backend("reference"):
            return ops.sample_paths(logits, few, mode, seed=1, k=k)

    found["reference"] = reference, few
    return found | _peers(mode, logits, n)


def _peers(mode: str, logits: torch.Tensor, n: int) -> dict[str, Variant]:
    """The same paths as numpy and torch draw them by their fastest usual way."""
    rng = np.random.default_rng(0)
    p = logits.softmax(1)
    shape = (n, EDGES, OPTIONS)
    calls: dict[str, Callable[[], object]]
    if mode == "uniform":
        calls = {
            "numpy integers": lambda: rng.integers(OPTIONS, size=(n, EDGES), dtype=np.int8),
            "numpy integers int64": lambda: rng.integers(OPTIONS, size=(n, EDGES)),
            "torch.randint": lambda: torch.randint(OPTIONS, (n, EDGES)),
        }
    elif mode == "categorical":
        upper = p.double().cumsum(1).numpy()[:, :-1]
        calls = {
            "torch.multinomial": lambda: torch.multinomial(p, n, replacement=True),
            "numpy inverse": lambda: (rng.random((n, EDGES, 1)) > upper).sum(2),
        }
    elif mode == "gumbel":
        x = logits.numpy()
        calls = {
            "torch topk": lambda: (logits - (-torch.rand(shape).log()).log()).topk(2).indices,
            "numpy partition": lambda: np.argpartition(
                np.log(-np.log(rng.random(shape))) - x, 1, axis=2
            )[..., :2],
        }
    else:
        blocks = (n // OPTIONS, EDGES, OPTIONS)
        calls = {
            "torch argsort": lambda: torch.rand(blocks).argsort(2),
            "numpy argsort": lambda: rng.random(blocks).argsort(2),
        }
    return {name: (call, n) for name, call in calls.items()}


@dataclass(frozen=True)
class _Space:
    """A space with additive costs, as ``PathSampler`` takes it and as numpy draws from it.

    Attributes:
        name: Shown.
        costs: Option costs of each choice.
        parents: As ``PathSampler`` takes them.
        active: As ``PathSampler`` takes them.
        uniform: From a generator and n, the costs of n architectures drawn uniformly.
    """

    name: str
    costs: list[list[int]]
    parents: list[int]
    active: list[list[int]]
    uniform: Callable[[np.random.Generator, int], Array]


def _wide() -> _Space:
    costs = np.random.default_rng(0).integers(0, 1000, size=(EDGES, OPTIONS))
    at = np.arange(EDGES)

    def uniform(rng: np.random.Generator, n: int) -> Array:
        found: Array = costs[at, rng.integers(OPTIONS, size=(n, EDGES))].sum(1)
        return found

    return _Space(f"{EDGES}x{OPTIONS}", costs.tolist(), [], [], uniform)


def _ofa() -> _Space:
    """Multiply-accumulates of the blocks of OFA's MobileNetV3 (Cai et al. 2020) at 224 pixels."""
    widths, sides = (16, 24, 40, 80, 112, 160), (112, 56, 28, 14, 14, 7)
    costs: list[list[int]] = []
    parents: list[int] = []
    active: list[list[int]] = []
    layers = np.zeros((5, 4, 9), dtype=np.int64)
    for stage in range(5):
        depth = len(costs)
        costs.append([0, 0, 0])
        parents.append(-1)
        active.append([])
        for block in range(4):
            c_in, side = (widths[stage + (block > 0)], sides[stage + (block > 0)])
            c_out, out = widths[stage + 1], sides[stage + 1]
            layers[stage, block] = [
                c_in * e * (c_in * side**2 + (kernel**2 + c_out) * out**2)
                for kernel in (3, 5, 7)
                for e in (3, 4, 6)
            ]
            costs.append(layers[stage, block].tolist())
            parents.append(depth)
            active.append([d for d in range(3) if block < d + 2])
    shares = np.array([9.0**2, 9.0**3, 9.0**4])
    at = np.ogrid[:5, :4]

    def uniform(rng: np.random.Generator, n: int) -> Array:
        depths = 2 + rng.choice(3, size=(n, 5, 1), p=shares / shares.sum())
        chosen = layers[at[0], at[1], rng.integers(9, size=(n, 5, 4))]
        found: Array = (chosen * (np.arange(4) < depths)).sum((1, 2))
        return found

    return _Space("ofa-mobilenet-v3", costs, parents, active, uniform)


def _limited(space: _Space, fraction: float) -> tuple[float, dict[str, Variant]]:
    """The share that a limit near ``fraction`` accepts, and the ways to draw under it."""
    sampler_class: Any = importlib.import_module("nas_domains._sampler").PathSampler
    sampler = sampler_class(space.costs, space.parents, space.active)
    low, high = sampler.min_cost, sampler.max_cost
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if sampler.fraction(middle) < fraction else (low, middle)
    accepted = sampler.fraction(high)
    rng = np.random.default_rng(0)
    draws = 20_000
    n = 20_000
    return accepted, {
        "native": (lambda: sampler.sample(n, 1, high), n),
        "numpy rejection": (lambda: space.uniform(rng, draws) <= high, draws * accepted),
    }


def render(result: dict[str, Any]) -> list[str]:
    """The rows as lines of a table.

    Args:
        result: With ``rows``: op, space, mode, accepted_fraction (the share of the space that
            keeps the limit), backend, per_second (median: paths, or architectures that keep the
            limit), per_second_best, ratio (ours over this one; above 1 ours is faster), threads.
    """
    lines = [
        f"{'op':13}{'space':18}{'mode':13}{'accepted':>10}  {'backend':22}{'per second':>14}"
        f"{'best':>14}{'ratio':>9}"
    ]
    for row in result["rows"]:
        lines.append(
            f"{row['op']:13}{row['space']:18}{row['mode']:13}{row['accepted_fraction']:>10.4%}  "
            f"{row['backend']:22}{row['per_second']:14,.0f}{row['per_second_best']:14,.0f}"
            f"{row['ratio']:9.1f}"
        )
    return [
        *lines,
        "",
        "per second: paths, or architectures that keep the limit, by the median; best: by the "
        "fastest sample.",
        "ratio: the first backend of a mode over this one, measured in turn, one thread.",
    ]


def draw(result: dict[str, Any], path: Path) -> None:
    """Draws the rows as bars, one panel for each op and space."""
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in result["rows"]:
        panels.setdefault((row["op"], row["space"]), []).append(row)
    figure = Figure(figsize=(6 * len(panels), 6), layout="constrained")
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    for axis, ((op, space), rows) in zip(axes, panels.items(), strict=True):
        names = [
            f"{row['backend']}, "
            + (f"{row['accepted_fraction']:.2%}" if row["mode"] == "limit" else row["mode"])
            for row in rows
        ]
        colours = ["C0" if "native" in row["backend"] else "C7" for row in rows]
        axis.barh(names, [row["per_second"] for row in rows], color=colours)
        axis.invert_yaxis()
        axis.set_xscale("log")
        axis.set_xlabel("a second, one core")
        axis.set_title(f"{op}, {space}")
        axis.tick_params(axis="y", labelsize=7)
    figure.suptitle(f"{result['name']}: {result['header']['cpu']}")
    write_atomic(path, lambda file: figure.savefig(file, dpi=120, format="png"))
