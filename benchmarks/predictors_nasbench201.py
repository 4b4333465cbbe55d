"""How well surrogate predictors rank NAS-Bench-201's cells that they have not seen.

Each learns the 200-epoch test accuracy on CIFAR-10 of random cells, from encodings and from the
published zero-cost scores of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022), and predicts the
rest of that table's 725 cells. Prints Kendall's tau, how far its standard deviations are from
honest (0 is honest), and seconds to fit and predict: means over seeds, which draw the cells.

    python benchmarks/predictors_nasbench201.py table.npz zero_cost_cifar10.npz \
        --cells 100 --seeds 5 --json benchmarks/predictors_nasbench201.json

The files are those of ``proxies_nasbench201.py``. The table and the plot of the calibration, with
all seeds' predictions from ``one-hot + proxies``, go beside the JSON, as ``.md`` and ``.png``.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from proxies_nasbench201 import cell, read

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.core import registry
from nas_domains.core.files import write_json, write_text
from nas_domains.evaluation.predictors.features import features
from nas_domains.evaluation.predictors.quality import Quality, judge
from nas_domains.report.calibration import plot_calibration

FEATURES = {
    "one-hot": (("one-hot",), False),
    "path": (("path",), False),
    "one-hot + path": (("one-hot", "path"), False),
    "one-hot + proxies": (("one-hot",), True),
    "all": (("one-hot", "path"), True),
}
"""Name -> encodings, and whether proxies stand beside them."""
PLOTTED = "one-hot + proxies"
NO_PROXY = "val_accuracy"
"""A column of the table that is a truth."""


def show(content: dict[str, Any]) -> str:
    """The table in Markdown."""
    options, about = content["options"], content["about"]
    lines = [
        "# Surrogate predictors on NAS-Bench-201's cells, CIFAR-10",
        "",
        f"`benchmarks/predictors_nasbench201.py`, {options['cells']} random cells to learn from, "
        f"the other {725 - options['cells']} to predict, mean of {options['seeds']} seeds ± "
        f"standard error; {about['cpu']}, {about['threads']} thread.",
        "",
        "| features | predictor | Kendall's tau | calibration error | seconds |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in content["rows"]:
        taus, errors = row["tau"], row["calibration_error"]
        spread = statistics.stdev(taus) / len(taus) ** 0.5 if len(taus) > 1 else 0.0
        lines.append(
            f"| {row['features']} | {row['predictor']} | {statistics.fmean(taus):.3f} ± "
            f"{spread:.3f} | {statistics.fmean(errors):.3f} | "
            f"{statistics.fmean(row['seconds']):.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs all of it, which takes minutes, and writes the table and the plot."""
    if len(sys.argv) == 1:
        print(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="the .npz of the benchmark")
    parser.add_argument("zero_cost", type=Path, help="the .npz of published scores")
    parser.add_argument("--cells", type=int, default=100, help="to learn from")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    torch.set_num_threads(1)
    table, published = read(options.table), read(options.zero_cost)
    space = nd.load_space("nasbench201")
    rows = published["row"].tolist()
    architectures = [cell(space, table, row) for row in rows]
    truth = table["test_acc_200ep"][rows, table["datasets"].tolist().index("cifar10")]
    names = published["columns"].tolist()
    scores = [
        {n: float(v) for n, v in zip(names, row, strict=True) if n != NO_PROXY}
        for row in published["scores"]
    ]
    results, plotted = [], {}
    for label, (encodings, with_proxies) in FEATURES.items():
        x = features(
            space, architectures, encodings=encodings, proxies=scores if with_proxies else None
        )
        for entry in registry.predictors:
            qualities, seconds, truths = [], [], []
            for seed in range(options.seeds):
                order = np.random.default_rng(seed).permutation(len(x))
                known, rest = order[: options.cells], order[options.cells :]
                began = time.perf_counter()
                predictor = registry.predictors.get(entry.name, seed=seed)
                mean, std = predictor.fit(x[known], truth[known]).predict(x[rest])
                seconds.append(time.perf_counter() - began)
                qualities.append(judge(mean, std, truth[rest]))
                truths.append(truth[rest])
            results.append(
                {
                    "features": label,
                    "predictor": entry.name,
                    "tau": [q.tau for q in qualities],
                    "rmse": [q.rmse for q in qualities],
                    "calibration_error": [q.calibration_error for q in qualities],
                    "seconds": seconds,
                }
            )
            if label == PLOTTED:
                plotted[entry.name] = joined(qualities, truths)
            print(f"{label}, {entry.name}", file=sys.stderr, flush=True)
    asked = {n: v.name if isinstance(v, Path) else v for n, v in vars(options).items()}
    content = {"about": header(), "options": asked, "rows": results}
    write_json(options.json, content)
    write_text(options.json.with_suffix(".md"), show(content))
    plot_calibration(options.json.with_suffix(".png"), plotted)
    print(show(content))


def joined(qualities: list[Quality], truths: list[np.ndarray]) -> Quality:
    """The quality of all predictions together."""
    means, stds = (np.concatenate([getattr(q, n) for q in qualities]) for n in ("mean", "std"))
    return judge(means, stds, np.concatenate(truths))


if __name__ == "__main__":
    main()
