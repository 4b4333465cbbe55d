"""How our zero-cost proxies rank NAS-Bench-201's cells: as published scores do, and as accuracy.

Scores the full-size networks (three stages of 5 cells, 16 channels, 32x32 images, one random batch
of 32, torch's own initialisation) of random cells among those of NAS-Bench-Suite-Zero
(Krishnakumar et al. 2022), and prints Spearman's correlation of each proxy with that table's score
of the same proxy, and with the test accuracy after 200 epochs, beside the table's own.

    python benchmarks/proxies_nasbench201.py cifar10_5k.npz table.npz zero_cost_cifar10.npz \
        --cells 200 --json benchmarks/proxies_nasbench201.json

The data is an ``.npz`` in MedMNIST's layout. The table holds ``arch`` [N, 6], numbers of the names
in ``ops`` in the order of ``edges`` ("1<-0", ...), and ``test_acc_200ep`` [N, D] of the
``datasets``; the scores hold ``row`` [M] in the table, ``columns`` [P] and ``scores`` [M, P]. The
JSON is written after each cell, and a killed study goes on from it; the table goes beside it, as
``.md``. A score that is not finite ranks last; cells without a published score are left out of the
comparison with it. Seconds are of one thread, the median over cells.
"""

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.core import registry
from nas_domains.core.architecture import Architecture
from nas_domains.core.files import write_text
from nas_domains.core.history import History
from nas_domains.core.objective import parse_objectives
from nas_domains.core.progress import Reporter
from nas_domains.evaluation.context import Context, make_accelerator
from nas_domains.evaluation.proxies.evaluator import ProxyEvaluator

PUBLISHED = {"naswot": "nwot"}
"""Our name -> that of the table, where they differ."""


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays of an ``.npz``."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def cell(space: nd.SearchSpace, table: dict[str, np.ndarray], row: int) -> Architecture:
    """The architecture of a row of the table."""
    edges = ["->".join(reversed(edge.split("<-"))) for edge in table["edges"].tolist()]
    names = table["ops"].tolist()
    ids = table["arch"][row].tolist()
    return space.architecture({e: names[i] for e, i in zip(edges, ids, strict=True)})


def score(evaluator: ProxyEvaluator, architecture: Architecture, number: int) -> dict[str, Any]:
    """Score, null where it is not finite, and seconds of each proxy."""
    network = evaluator.network(architecture, number)
    loss = evaluator.context.task.loss
    scores, seconds = {}, {}
    for name, proxy in evaluator.proxies.items():
        began = time.perf_counter()
        value = proxy(network, *evaluator.batch, loss, seed=evaluator.context.seed + number)
        seconds[name] = round(time.perf_counter() - began, 4)
        scores[name] = value if math.isfinite(value) else None
    return {"scores": scores, "seconds": seconds}


def correlation(scores: list[float], truth: list[float]) -> float:
    """Spearman's, over the pairs whose truth is finite."""
    pairs = [(s, t) for s, t in zip(scores, truth, strict=True) if math.isfinite(t)]
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def summary(
    rows: list[dict[str, Any]], table: dict[str, np.ndarray], published: dict[str, np.ndarray]
) -> dict[str, dict[str, float | None]]:
    """The correlations and seconds of each proxy over the rows."""
    dataset = table["datasets"].tolist().index("cifar10")
    columns = published["columns"].tolist()
    places = {int(row): place for place, row in enumerate(published["row"])}
    truth = [float(table["test_acc_200ep"][r["row"], dataset]) for r in rows]
    found = {}
    for name in rows[0]["scores"]:
        ours = [-math.inf if (s := r["scores"][name]) is None else s for r in rows]
        column = PUBLISHED.get(name, name)
        theirs = None
        if column in columns:
            at = columns.index(column)
            theirs = [float(published["scores"][places[r["row"]], at]) for r in rows]
        finite = [(t, a) for t, a in zip(theirs or [], truth, strict=False) if math.isfinite(t)]
        found[name] = {
            "with_published": None if theirs is None else correlation(ours, theirs),
            "with_accuracy": correlation(ours, truth),
            "published_with_accuracy": correlation(*map(list, zip(*finite, strict=True)))
            if finite
            else None,
            "not_finite": sum(not math.isfinite(s) for s in ours),
            "seconds": statistics.median(r["seconds"][name] for r in rows),
        }
    return found


def show(content: dict[str, Any]) -> str:
    """The table in Markdown."""
    about, rows = content["about"], content["rows"]
    lines = [
        "# Zero-cost proxies on NAS-Bench-201's cells, CIFAR-10",
        "",
        f"`benchmarks/proxies_nasbench201.py`, {len(rows)} random cells of "
        f"NAS-Bench-Suite-Zero, full-size networks, one batch of 32; seed "
        f"{content['options']['seed']}; {about['cpu']}, 1 thread, "
        f"torch {about['packages']['torch']}. "
        "Spearman's correlations; seconds are the median of a network, on a machine with other "
        "work.",
        "",
        "| proxy | with the published score | with 200-epoch accuracy | "
        "the published score's | not finite | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, row in sorted(
        content["proxies"].items(), key=lambda item: -item[1]["with_accuracy"]
    ):
        values = [
            "-" if row[key] is None else f"{row[key]:.3f}"
            for key in ("with_published", "with_accuracy", "published_with_accuracy")
        ]
        cells = [name, *values, str(row["not_finite"]), f"{row['seconds']:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes the JSON, a line for each cell."""
    head = {name: value for name, value in content.items() if name != "rows"}
    rows = ",\n".join(json.dumps(row, allow_nan=False) for row in content["rows"])
    text = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    write_text(path, f'{text},\n "rows": [\n{rows}\n]\n}}\n')


def main() -> None:
    """Scores the cells that are missing, then prints and writes the table."""
    if len(sys.argv) == 1:
        print(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the .npz of images")
    parser.add_argument("table", type=Path, help="the .npz of the benchmark")
    parser.add_argument("zero_cost", type=Path, help="the .npz of published scores")
    parser.add_argument("--cells", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--space", default="nasbench201:cells=5,channels=16")
    parser.add_argument("--json", type=Path, required=True, help="what is written, and resumed")
    options = parser.parse_args()
    torch.set_num_threads(1)
    asked = {
        name: value.name if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name != "json"
    }
    content: dict[str, Any] = {"about": header(), "options": asked, "proxies": {}, "rows": []}
    if options.json.exists():
        content = json.loads(options.json.read_text(encoding="utf-8"))
        if content["options"] != asked:
            sys.exit(f"{options.json} was begun with other options: name another file.")
    table, published = read(options.table), read(options.zero_cost)
    task = nd.load_task(str(options.data), domain="vision")
    space = nd.load_space(options.space)
    with tempfile.TemporaryDirectory() as folder:
        context = Context(
            space=space,
            task=task,
            objectives=parse_objectives((), task.metrics),
            seed=options.seed,
            accelerator=make_accelerator("cpu", "float32"),
            history=History(Path(folder) / "history.jsonl"),
            checkpoints=Path(folder),
            reporter=Reporter(quiet=True),
        )
        evaluator = ProxyEvaluator(context, [entry.name for entry in registry.proxies])
        drawn = np.random.default_rng(0).permutation(published["row"])[: options.cells]
        for number in range(len(content["rows"]), len(drawn)):
            row = int(drawn[number])
            content["rows"].append(
                {"row": row, **score(evaluator, cell(space, table, row), number)}
            )
            if number >= 1:
                content["proxies"] = summary(content["rows"], table, published)
            save(options.json, content)
            print(f"{number + 1}/{len(drawn)}", file=sys.stderr, flush=True)
    text = show(content)
    write_text(options.json.with_suffix(".md"), text)
    print(text)


if __name__ == "__main__":
    main()
