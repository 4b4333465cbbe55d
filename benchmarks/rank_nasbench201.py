"""How well a small supernet ranks NAS-Bench-201's cells, by the paths it was trained with.

Trains the shared weights of a reduced NAS-Bench-201 (one cell a stage, 8 channels, images of half
the sides) by uniform, fair and sandwich paths with as many steps and one learning rate, scores the
same random cells in each, and prints Kendall's tau against their published accuracy after 200
epochs: of all cells, and among the best fifth. Steps are equal, work is not: a fair step runs 5
paths and a sandwich 4, as the seconds say. The rank by parameters is what a supernet must beat.

    python benchmarks/rank_nasbench201.py cifar10_5k.npz table.npz --seeds 3 --json rank.json

The data is an ``.npz`` in MedMNIST's layout. The table holds ``arch`` [N, 6], numbers of the names
in ``ops`` in the order of ``edges`` ("1<-0", ...), and ``test_acc_200ep`` [N, D] in percent of the
``datasets``. A killed study goes on where it was. Without arguments the committed table is
printed.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.core.architecture import Architecture
from nas_domains.core.files import finite
from nas_domains.core.history import History
from nas_domains.core.objective import parse_objectives
from nas_domains.core.progress import Reporter
from nas_domains.core.task import Task
from nas_domains.evaluation.context import Context, make_accelerator
from nas_domains.evaluation.rank import kendall_tau, relative_gain, top_tau
from nas_domains.evaluation.supernet import SupernetEvaluator
from nas_domains.strategies.oneshot import (
    TRAINING,
    OneShotSettings,
    PathTraining,
    score_paths,
)

KINDS = ("uniform", "fair", "sandwich")


def halved(source: Path, target: Path) -> Task:
    """The task on images of half the sides, each pixel the mean of four."""
    if not target.exists():
        with np.load(source, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for name, images in arrays.items():
            if name.endswith("_images"):
                n, height, width, channels = images.shape
                boxes = images.reshape(n, height // 2, 2, width // 2, 2, channels)
                arrays[name] = np.round(boxes.mean((2, 4))).astype(np.uint8)
        part = target.with_name("part.npz")
        np.savez(part, **arrays)
        part.rename(target)
    return nd.load_task(str(target), domain="vision")


def cells(
    table: Path, space: nd.SearchSpace, number: int, dataset: str
) -> tuple[list[Architecture], list[float]]:
    """Random cells, the same for all seeds, and their accuracy in percent."""
    with np.load(table, allow_pickle=False) as file:
        content = {name: file[name] for name in file.files}
    column = content["datasets"].tolist().index(dataset)
    rows = np.random.default_rng(0).choice(len(content["arch"]), number, replace=False)
    edges = ["->".join(reversed(edge.split("<-"))) for edge in content["edges"].tolist()]
    names = content["ops"].tolist()
    drawn = [
        space.architecture({e: names[i] for e, i in zip(edges, content["arch"][row], strict=True)})
        for row in rows
    ]
    return drawn, [float(v) for v in content["test_acc_200ep"][rows, column]]


def study(
    folder: Path,
    task: Task,
    space: nd.SearchSpace,
    kind: str,
    seed: int,
    drawn: list[Architecture],
    truth: list[float],
    options: argparse.Namespace,
) -> dict[str, Any]:
    """Trains, or goes on, by one kind of paths, and compares its scores with the truth."""
    folder.mkdir(parents=True, exist_ok=True)
    context = Context(
        space=space,
        task=task,
        objectives=parse_objectives((), task.metrics),
        seed=seed,
        accelerator=make_accelerator("cpu", "float32"),
        history=History(folder / "history.jsonl"),
        checkpoints=folder,
        reporter=Reporter(options.quiet),
    )
    settings = OneShotSettings(kind, lr=options.lr, lr_batch=64, weight_decay=3e-4)
    training = PathTraining(context, settings, options.steps)
    evaluator = SupernetEvaluator(context, training.run())
    records = score_paths(
        context, evaluator, lambda _: list(drawn), trials=len(drawn), epochs=training.epochs
    )
    scores = [float(r.metrics["accuracy"] or 0) for r in records]
    spent = context.history.of(TRAINING)
    trained = sum(r.seconds for r in spent)
    return {
        "tau": kendall_tau(scores, truth),
        "top_tau": top_tau(scores, truth),
        "params_tau": kendall_tau([float(r.metrics["params"] or 0) for r in records], truth),
        "gain": relative_gain(truth[int(np.argmax(scores))], truth),
        "scores_mean": statistics.fmean(scores),
        "train_loss": spent[-1].detail["train_loss"],
        "train_seconds": trained,
        "score_seconds": sum(r.seconds for r in records) - trained,
    }


def show(results: dict[str, dict[str, Any]]) -> str:
    """The table: means over the seeds, with the standard error where there are several."""
    columns = ("tau", "top_tau", "params_tau", "gain", "scores_mean", "train_seconds")
    lines = [
        f"| paths | seeds | {' | '.join(columns)} |",
        "| --- | --- |" + " --- |" * len(columns),
    ]
    for kind in KINDS:
        rows = [r for name, r in results.items() if name.split("/")[0] == kind]
        if not rows:
            continue
        line = f"| {kind} | {len(rows)} |"
        for column in columns:
            values = [row[column] for row in rows if row[column] is not None]
            text = f"{statistics.fmean(values):.3f}" if values else "-"
            if len(values) > 1:
                text += f" +- {statistics.stdev(values) / len(values) ** 0.5:.3f}"
            line += f" {text} |"
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing of the study and prints its table after each part."""
    if len(sys.argv) == 1:
        print(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, help="the .npz of images")
    parser.add_argument("table", type=Path, help="the .npz of the benchmark")
    parser.add_argument("--dataset", default="cifar10", help="column of the table")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--cells", type=int, default=200, help="cells that are scored")
    parser.add_argument("--space", default="nasbench201:cells=1,channels=8")
    parser.add_argument("--lr", type=float, default=0.05, help="for a batch of 64")
    parser.add_argument("--runs", type=Path, default=Path("runs/rank_nasbench201"))
    parser.add_argument("--json", type=Path, help="write the results")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    asked = {
        name: value.name if isinstance(value, Path) else value
        for name, value in vars(options).items()
        if name not in ("seeds", "kinds", "runs", "json", "quiet")
    } | {"threads": torch.get_num_threads()}
    options.runs.mkdir(parents=True, exist_ok=True)
    kept = options.runs / "options.json"
    if kept.exists() and json.loads(kept.read_text(encoding="utf-8")) != asked:
        sys.exit(f"{options.runs} was begun with other options: name another folder with --runs.")
    kept.write_text(json.dumps(asked), encoding="utf-8")
    task = halved(options.data, options.runs / "images.npz")
    space = nd.load_space(options.space)
    drawn, truth = cells(options.table, space, options.cells, options.dataset)
    content: dict[str, Any] = {"about": header(), "options": asked, "results": {}}
    for seed in range(options.seeds):
        for kind in options.kinds:
            began = time.perf_counter()
            folder = options.runs / f"{kind}-{seed}"
            row = study(folder, task, space, kind, seed, drawn, truth, options)
            content["results"][f"{kind}/{seed}"] = finite(row)
            if options.json is not None:
                text = json.dumps(content, indent=1, allow_nan=False) + "\n"
                options.json.write_text(text, encoding="utf-8")
                table = show(content["results"]) + "\n"
                options.json.with_suffix(".md").write_text(table, encoding="utf-8")
            print(f"{kind}, seed {seed}: {time.perf_counter() - began:.0f} s", file=sys.stderr)
    print(show(content["results"]))


if __name__ == "__main__":
    main()
