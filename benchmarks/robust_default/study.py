"""Which combination of parts the strategy ``robust`` is: gradient searches judged by a table.

Each search trains a reduced NAS-Bench-201 supernet on a few thousand CIFAR-10 images; the cell
that it finds is looked up in the benchmark's table. Combinations are compared by the table's
12-epoch *validation* accuracy (``--judge validation``, the default); the 200-epoch test accuracy
is read once, for the strategies that are published (``--judge test``, other seeds).

    python benchmarks/robust_default/study.py cifar10_5k.npz table.npz --minutes 3 \
        --seeds 0 1 2 3 --configs darts drnas ...
    python benchmarks/robust_default/study.py cifar10_5k.npz table.npz --minutes 5 \
        --judge test --seeds 10 11 12 13 --configs darts robust

On data without a table the cell that was found is trained (``--train-epochs``), and judged by
its accuracy on the validation split; the test split is not touched. A row ``random`` trains draws:

    python benchmarks/robust_default/study.py digits --judge trained --budget steps=150 \
        --seeds 0 1 2 3 --size 8 --configs random softmax robust

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
from nas_domains.evaluation.train import fresh, train
from nas_domains.nn.relaxation import Dirichlet, Gumbel, Softmax
from nas_domains.strategies.base import Strategy
from nas_domains.strategies.blackbox import draw
from nas_domains.strategies.gradient import Gradient
from nas_domains.strategies.parts.regularisers import BetaDecay, PriorDistance
from nas_domains.strategies.settings import GradientSettings as Settings

HERE = Path(__file__).parent
RESULTS = HERE / "results.jsonl"
COLUMNS = {"validation": "val_acc_12ep", "test": "test_acc_200ep"}
JUDGES = (*COLUMNS, "trained")

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
    # A search of one step gives the try-out nothing to begin with.
    "tryout alone": TRAVEL(tryout=True),
}
"""Combinations of parts that are no registered strategy."""


PUBLISHED = {
    "DARTS as published, every seed": (54.30, 15.61),
    "PC-DARTS, published": (93.41, 67.48),
    "GDAS, published": (93.51, 70.61),
    "DrNAS and beta-DARTS, published": (94.36, 73.51),
}
"""200-epoch test accuracy of searches on the full data, as papers give it."""


def strategy_of(name: str) -> Strategy:
    """A registered strategy, or a combination."""
    if name in COMBINATIONS:
        return Gradient(name, COMBINATIONS[name])
    made: Strategy = strategies.get(name)
    return made


def search(
    name: str,
    data: Path,
    seed: int,
    budget: str,
    limit: str | None,
    size: int,
    channels: int,
    epochs: int = 0,
) -> dict[str, Any]:
    """The cell found, in the benchmark's own form, the seconds and the plan of the search.

    With ``epochs`` the network of the cell, as small as the supernet, is trained for as many and
    its best validation accuracy is in percent under "trained".
    """
    # Limits count the benchmark's own networks: 5 cells a stage, 16 channels.
    cells, width = (1, channels) if epochs else (5, 16)
    space: Any = nd.spaces.get(
        "nasbench201", cells=cells, channels=width, supernet_cells=1, supernet_channels=channels
    )
    with tempfile.TemporaryDirectory() as folder:
        if data.exists():
            task = nd.load_task(str(smaller(data, size, Path(folder))), augment="shift,flip")
        else:
            task = nd.load_task(str(data))
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
        began = time.perf_counter()
        if name == "random":
            architecture, plan = draw(context, "study", seed), {}
        else:
            strategy = strategy_of(name)
            strategy.check(space, context.objectives)
            plan = strategy.plan(context, Budget.parse(budget))
            strategy.search(context, plan)
            winner = strategy.choose(context, context.history.of("search"))
            architecture = space.architecture(winner.architecture)
        seconds = time.perf_counter() - began
        found = {"arch_str": space.arch_str(architecture), "seconds": seconds, "plan": plan}
        if epochs:
            fresh(context, "study")
            network = space.build(architecture, task.input_shape, task.outputs)
            _, metrics = train(
                network,
                context,
                stage="study",
                epochs=epochs,
                architecture=dict(architecture),
                order="study",
            )
            found["trained"] = 100 * (metrics["accuracy"] or 0.0)
            found["params_M"] = sum(p.numel() for p in network.parameters()) / 1e6
        return found


def smaller(data: Path, side: int, folder: Path) -> Path:
    """The same images with sides of so many pixels, each the mean of a square."""
    content = dict(np.load(data))
    for name, images in content.items():
        if name.endswith("_images"):
            (n, height, width), colours = images.shape[:3], images.shape[3:]
            if height % side or width % side:
                raise SystemExit(f"--size {side} does not divide the {height} pixels of {data}.")
            tiles = images.reshape(n, side, height // side, side, width // side, *colours)
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
    """The table of a judge: a line for each configuration, data and budget."""
    names = ("CIFAR-10", "CIFAR-100") if judge in COLUMNS else ("accuracy",)
    shown = "".join(f" {name}, {judge} | least |" for name in names)
    lines = [
        f"| strategy | data | search | limit | seeds |{shown} seconds |",
        "| --- | --- | --- | --- | --- |" + " --- | --- |" * len(names) + " --- |",
    ]
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for r in results:
        if r["judge"] == judge:
            data = f"{r['data']} at {r['size']}, {r['channels']} channels"
            key = (r["config"], data, r["budget"], r["limit"] or "")
            groups.setdefault(key, []).append(r)
    found = []
    for key, group in groups.items():
        group.sort(key=lambda r: r["seed"])
        seconds = statistics.mean(r["seconds"] for r in group)
        seeds = " ".join(str(r["seed"]) for r in group)
        values = [[r["accuracy"][i] for r in group] for i in range(len(names))]
        text = "".join(f" {statistics.mean(v):.2f} | {min(v):.2f} |" for v in values)
        line = f"| {' | '.join(key)} | {seeds} |{text} {seconds:.0f} |"
        found.append((key[1], -statistics.mean(values[0]), line))
    return lines + [line for *_, line in sorted(found)]


def references(table: Any, judge: str) -> list[str]:
    """What the table itself says, beside which the cells found stand."""
    column, arch = table[COLUMNS[judge]], table["arch"]
    convolutions = [i for i, name in enumerate(table["ops"]) if str(name).startswith("nor_conv")]
    fits = table["params_M"][:, 0] <= 0.5
    large = arch == convolutions[-1]
    parameters = np.where(fits, table["params_M"][:, 0], 0)
    rows = {
        "mean of all cells": column.mean(0),
        "their standard deviation": column.std(0),
        "the 64 all-convolution cells": column[np.isin(arch, convolutions).all(1)].mean(0),
        "the largest cell, all 3x3 convolutions": column[large.all(1)].mean(0),
        "largest cells of at most 0.5 M parameters": column[
            parameters >= parameters.max() - 1e-6
        ].mean(0),
        "best cell of at most 0.5 M parameters": column[fits].max(0),
        "optimum": column.max(0),
    }
    rows |= PUBLISHED if judge == "test" else {}
    lines = [f"| cells of the table, {judge} | CIFAR-10 | CIFAR-100 |", "| --- | --- | --- |"]
    return lines + [f"| {name} | {v[0]:.2f} | {v[1]:.2f} |" for name, v in rows.items()]


def main() -> None:
    """Runs what is missing, then prints and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="images in MedMNIST's layout, digits")
    parser.add_argument("table", type=Path, nargs="?", help="the table of NAS-Bench-201")
    parser.add_argument("--configs", nargs="+", default=["darts"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--budget", default="3m", help="of each search: a time, or steps=N")
    parser.add_argument("--limit", help="such as params<=0.5e6, of the benchmark's own networks")
    parser.add_argument("--judge", choices=JUDGES, default="validation")
    parser.add_argument("--size", type=int, default=16, help="side of the images")
    parser.add_argument("--channels", type=int, default=8, help="of the first stage")
    parser.add_argument("--train-epochs", type=int, default=8, help="where the judge is trained")
    asked = parser.parse_args()
    if asked.data is not None and asked.judge in COLUMNS and asked.table is None:
        parser.error("the judges validation and test need the table of NAS-Bench-201")
    table = None if asked.table is None else np.load(asked.table)
    for seed in asked.seeds if asked.data is not None else []:
        for config in asked.configs:
            key = {
                "config": config,
                "data": asked.data.stem,
                "seed": seed,
                "budget": asked.budget,
                "limit": asked.limit,
                "judge": asked.judge,
                "size": asked.size,
                "channels": asked.channels,
            }
            if any(all(r[k] == v for k, v in key.items()) for r in read()):
                continue
            found = search(
                config,
                asked.data,
                seed,
                asked.budget,
                asked.limit,
                asked.size,
                asked.channels,
                0 if asked.judge in COLUMNS else asked.train_epochs,
            )
            result = {**key, "threads": torch.get_num_threads(), "plan": found["plan"]}
            if asked.judge in COLUMNS:
                row = row_of(table, found["arch_str"])
                column = table[COLUMNS[asked.judge]][row]
                result["accuracy"] = [round(float(v), 2) for v in column]
                result["params_M"] = round(float(table["params_M"][row][0]), 4)
            else:
                result["accuracy"] = [round(found["trained"], 2)]
                result["params_M"] = round(found["params_M"], 4)
            result |= {"arch_str": found["arch_str"], "seconds": round(found["seconds"], 1)}
            print(json.dumps(result), flush=True)
            with RESULTS.open("a") as file:
                file.write(json.dumps(result) + "\n")
    report(table)


def read() -> list[dict[str, Any]]:
    """The searches that are there."""
    lines = RESULTS.read_text().splitlines() if RESULTS.exists() else []
    return [json.loads(line) for line in lines]


def report(table: Any) -> None:
    """Prints and writes the tables; those of the cells of the benchmark need its table."""
    text = []
    for judge in JUDGES:
        if any(r["judge"] == judge for r in read()):
            text += [*rows_of(read(), judge), ""]
            if judge in COLUMNS and table is not None:
                text += [*references(table, judge), ""]
    print("\n".join(text))
    if table is not None or not (HERE / "table.md").exists():
        (HERE / "table.md").write_text("\n".join(text))


if __name__ == "__main__":
    main()
