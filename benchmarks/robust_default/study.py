"""Which combination of parts the strategy ``robust`` is: gradient searches judged by a table.

Each search trains a reduced NAS-Bench-201 supernet on a few thousand CIFAR-10 images; the cell
that it finds is looked up in the benchmark's table. Combinations are compared by the table's
12-epoch *validation* accuracy (``--judge validation``, the default); the 200-epoch test accuracy
is read once, for the strategies that are published (``--judge test``, other seeds).

    python benchmarks/robust_default/study.py cifar10_5k.npz table.npz --minutes 3 \
        --seeds 0 1 2 3 --configs darts drnas ...
    python benchmarks/robust_default/study.py cifar10_5k.npz table.npz --minutes 5 \
        --judge test --seeds 10 11 12 13 --configs darts robust

Every search is a line of ``results.jsonl`` beside this file; those that are there are not run
again, so a killed study goes on where it was. Without data the committed table is printed.
"""

import argparse
import json
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nas_domains as nd
from nas_domains.core.budget import Budget
from nas_domains.core.history import History
from nas_domains.core.objective import parse_objectives
from nas_domains.core.progress import Reporter
from nas_domains.core.registry import strategies
from nas_domains.evaluation.context import Context, make_accelerator
from nas_domains.nn.relaxation import Dirichlet, Gumbel, Softmax
from nas_domains.strategies.base import Strategy
from nas_domains.strategies.gradient import Gradient
from nas_domains.strategies.parts.regularisers import BetaDecay, PriorDistance
from nas_domains.strategies.settings import GradientSettings as Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
COLUMNS = {"validation": ("val_acc_12ep",), "test": ("test_acc_200ep",)}

TRAVEL = partial(Settings, alpha_travel=3.0, alpha_weight_decay=0.0)
"""Parameters that come as far in minutes as published searches let them come in hours."""

COMBINATIONS = {
    "softmax": TRAVEL(),
    "dirichlet": TRAVEL(relaxation=Dirichlet, regularisers=(PriorDistance(),)),
    "gumbel": TRAVEL(relaxation=Gumbel),
    "softmax+auxiliary": TRAVEL(auxiliary=True),
    "dirichlet+auxiliary": TRAVEL(
        relaxation=Dirichlet, regularisers=(PriorDistance(),), auxiliary=True
    ),
    "softmax+beta": TRAVEL(regularisers=(BetaDecay(5.0),)),
    "softmax+beta+auxiliary": TRAVEL(regularisers=(BetaDecay(5.0),), auxiliary=True),
    "noise+auxiliary": TRAVEL(relaxation=partial(Softmax, noise=0.3), auxiliary=True),
    "gumbel+auxiliary": TRAVEL(relaxation=Gumbel, auxiliary=True),
    "softmax+auxiliary+perturbation": TRAVEL(auxiliary=True, perturbation=True),
    "dirichlet+warmup": TRAVEL(
        relaxation=Dirichlet, regularisers=(PriorDistance(),), warmup=0.3
    ),
    "softmax+warmup": TRAVEL(warmup=0.3),
}
"""Combinations of parts that are no registered strategy."""


def strategy_of(name: str) -> Strategy:
    """A registered strategy, or a combination."""
    if name in COMBINATIONS:
        return Gradient(name, COMBINATIONS[name])
    made: Strategy = strategies.get(name)
    return made


def search(
    name: str, data: Path, seed: int, budget: str, limit: str | None, size: int, channels: int
) -> tuple[str, float, int]:
    """The cell found, in the benchmark's own form, the seconds and the steps of the search."""
    # Limits count the benchmark's own networks: 5 cells a stage, 16 channels.
    space: Any = nd.spaces.get(
        "nasbench201", cells=5, channels=16, supernet_cells=1, supernet_channels=channels
    )
    strategy = strategy_of(name)
    with tempfile.TemporaryDirectory() as folder:
        task = nd.load_task(str(smaller(data, size, Path(folder))), augment="shift,flip")
        context = Context(
            space=space,
            task=task,
            objectives=parse_objectives(["accuracy", *([limit] if limit else [])], task.metrics),
            seed=seed,
            accelerator=make_accelerator("cpu", "float32"),
            history=History(Path(folder) / "history.jsonl"),
            checkpoints=Path(folder) / "checkpoints",
            reporter=Reporter(quiet=True),
        )
        strategy.check(space, context.objectives)
        began = time.perf_counter()
        plan = strategy.plan(context, Budget.parse(budget))
        strategy.search(context, plan)
        seconds = time.perf_counter() - began
        winner = strategy.choose(context, context.history.of("search"))
    architecture = space.architecture(winner.architecture)
    return space.arch_str(architecture), seconds, plan.get("steps", 0)


def smaller(data: Path, side: int, folder: Path) -> Path:
    """The same images with sides of so many pixels, each the mean of a square."""
    content = dict(np.load(data))
    for name, images in content.items():
        if name.endswith("_images"):
            n, height, width, channels = images.shape
            if height % side or width % side:
                raise SystemExit(f"--size {side} does not divide the {height} pixels of {data}.")
            tiles = images.reshape(n, side, height // side, side, width // side, channels)
            content[name] = np.rint(tiles.mean(axis=(2, 4))).astype(np.uint8)
    path = folder / data.name
    np.savez(path, **content)
    return path


def row_of(table: Any, arch_str: str) -> int:
    """The row of a cell in the table."""
    space: Any = nd.spaces.get("nasbench201")
    cell = space.from_arch_str(arch_str)
    names = [str(name) for name in table["ops"]]
    ids = []
    for edge in table["edges"]:
        target, _, source = str(edge).partition("<-")
        ids.append(names.index(str(cell[f"{source}->{target}"])))
    return int(np.flatnonzero((table["arch"] == np.array(ids)).all(axis=1))[0])


def rows_of(results: list[dict[str, Any]], judge: str) -> list[str]:
    """The table: a line for each configuration and budget."""
    lines = [
        f"| strategy | search | limit | seeds | CIFAR-10, {judge} | least | CIFAR-100, {judge} | "
        "seconds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for r in results:
        if r["judge"] == judge:
            groups.setdefault((r["config"], r["budget"], r["limit"] or ""), []).append(r)
    found = []
    for (config, budget, limit), group in groups.items():
        ten, hundred = ([r["accuracy"][i] for r in group] for i in (0, 1))
        seconds = statistics.mean(r["seconds"] for r in group)
        seeds = " ".join(str(r["seed"]) for r in group)
        found.append(
            (
                statistics.mean(ten),
                f"| {config} | {budget} | {limit} | {seeds} | {statistics.mean(ten):.2f} | "
                f"{min(ten):.2f} | {statistics.mean(hundred):.2f} | {seconds:.0f} |",
            )
        )
    return lines + [line for _, line in sorted(found, reverse=True)]


def main() -> None:
    """Runs what is missing, then prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="images, in MedMNIST's layout")
    parser.add_argument("table", type=Path, nargs="?", help="the table of NAS-Bench-201")
    parser.add_argument("--configs", nargs="+", default=["darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", default="3m", help="of each search: a time, or steps=N")
    parser.add_argument("--limit", help="such as params<=0.5e6, of the benchmark's own networks")
    parser.add_argument("--judge", choices=sorted(COLUMNS), default="validation")
    parser.add_argument("--size", type=int, default=16, help="side of the images")
    parser.add_argument("--channels", type=int, default=8, help="of the first stage")
    asked = parser.parse_args()
    kept = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    results = [json.loads(line) for line in kept]
    if asked.table is not None:
        table = np.load(asked.table)
        for seed in asked.seeds:
            for config in asked.configs:
                key = {
                    "config": config,
                    "seed": seed,
                    "budget": asked.budget,
                    "limit": asked.limit,
                    "judge": asked.judge,
                    "size": asked.size,
                    "channels": asked.channels,
                }
                if any(all(r[k] == v for k, v in key.items()) for r in results):
                    continue
                cell, seconds, steps = search(
                    config, asked.data, seed, asked.budget, asked.limit, asked.size,
                    asked.channels,
                )
                row = row_of(table, cell)
                column = table[COLUMNS[asked.judge][0]][row]
                result = {
                    **key,
                    "accuracy": [round(float(v), 2) for v in column],
                    "params_M": round(float(table["params_M"][row][0]), 4),
                    "arch_str": cell,
                    "seconds": round(seconds, 1),
                    "steps": steps,
                    "threads": torch.get_num_threads(),
                }
                print(json.dumps(result), flush=True)
                with RESULTS.open("a") as file:
                    file.write(json.dumps(result) + "\n")
                results.append(result)
    text = []
    for judge in COLUMNS:
        if any(r["judge"] == judge for r in results):
            text += [*rows_of(results, judge), ""]
    print("\n".join(text))
    (HERE / "table.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
