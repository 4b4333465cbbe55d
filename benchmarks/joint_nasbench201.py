"""What several proxies say together on NAS-Bench-201's cells, and what they add to a predictor.

    python benchmarks/joint_nasbench201.py table.npz zero_cost_cifar10.npz --seeds 10 \
        --json benchmarks/joint_nasbench201.json

Two questions, on the 725 cells of NAS-Bench-Suite-Zero (Krishnakumar et al. 2022) and their
200-epoch test accuracy on CIFAR-10:

- ``joint``: Spearman's correlation of joint ranks (``evaluation/proxies/joint.py``) with the
  accuracy and with the number of parameters, and the accuracy of the cell that is first.
- ``preselection``: the best accuracy after so many trainings, where a forest that learnt from the
  trainings so far selects the next of all that is left, by expected improvement: from the choices
  alone, and from the choices and the published scores of the proxies that the strategy
  ``predictor`` asks. The first six are drawn. Means over seeds, which draw them.

The files are those of ``proxies_nasbench201.py``. The table goes beside the JSON, as ``.md``.
"""

import argparse
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from proxies_nasbench201 import cell, read

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.core import registry
from nas_domains.core.files import write_json, write_text
from nas_domains.evaluation.predictors.features import features
from nas_domains.evaluation.proxies.joint import TRUSTED, joint_ranks, size_bias
from nas_domains.strategies.samplers.acquisition import log_expected_improvement
from nas_domains.strategies.samplers.surrogate import normal_scores

PUBLISHED = {"naswot": "nwot"}
"""Names of the table where they are not ours."""
STARTS, SHOWN = 6, (10, 20, 30)


def preselected(x: np.ndarray | None, truth: np.ndarray, seed: int) -> list[float]:
    """The best accuracy after each training; random draws where there are no features."""
    rng = np.random.default_rng(seed)
    seen = rng.permutation(len(truth))[: STARTS if x is not None else max(SHOWN)].tolist()
    while len(seen) < max(SHOWN):
        left = np.setdiff1d(np.arange(len(truth)), seen)
        values = normal_scores(truth[seen])
        model = registry.predictors.get("forest", seed=seed).fit(x[seen], values)
        worth = log_expected_improvement(*model.predict(x[left]), float(values.max()))
        seen.append(int(left[worth.argmax()]))
    return np.maximum.accumulate(truth[seen]).tolist()


def show(content: dict[str, Any]) -> str:
    """The tables in Markdown."""
    lines = [
        "# Several proxies together on NAS-Bench-201's cells, CIFAR-10",
        "",
        f"`benchmarks/joint_nasbench201.py`, the published scores of {content['cells']} cells; "
        f"best accuracy among them {content['best']:.2f} %, mean {content['mean']:.2f} %.",
        "",
        "| proxies | rank, accuracy | rank, parameters | accuracy of the first, % |",
        "| --- | --- | --- | --- |",
    ]
    for row in content["joint"]:
        ranks = f"{row['accuracy']:.3f} | {row['params']:.3f}"
        lines.append(f"| {row['proxies']} | {ranks} | {row['first']:.2f} |")
    seeds = len(content["preselection"]["random"])
    lines += [
        "",
        f"Best accuracy, %, after so many trainings, mean of {seeds} seeds ± standard error:",
        "",
        f"| what selects | {' | '.join(map(str, SHOWN))} |",
        f"| --- | {' | '.join('---' for _ in SHOWN)} |",
    ]
    for name, runs in content["preselection"].items():
        cells = []
        for at in SHOWN:
            values = [run[at - 1] for run in runs]
            error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else 0.0
            cells.append(f"{statistics.fmean(values):.2f} ± {error:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Answers both questions, and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="the .npz of the benchmark")
    parser.add_argument("zero_cost", type=Path, help="the .npz of published scores")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    space = nd.load_space("nasbench201")
    table, zero_cost = read(options.table), read(options.zero_cost)
    rows, columns = zero_cost["row"], zero_cost["columns"].tolist()
    truth = table["test_acc_200ep"][rows, table["datasets"].tolist().index("cifar10")]
    cells = [cell(space, table, row) for row in rows.tolist()]
    names = (*TRUSTED, "params", "flops")
    raw = {n: zero_cost["scores"][:, columns.index(PUBLISHED.get(n, n))] for n in names}
    scores = [
        {n: float(raw[n][i]) if np.isfinite(raw[n][i]) else None for n in names}
        for i in range(len(rows))
    ]
    joint = []
    for chosen in (*((n,) for n in names), ("naswot", "synflow"), TRUSTED):
        ranks = joint_ranks([{n: s[n] for n in chosen} for s in scores])
        joint.append(
            {
                "proxies": ", ".join(chosen),
                "accuracy": size_bias(ranks, truth.tolist()),
                "params": size_bias(ranks, raw["params"].tolist()),
                "first": float(truth[int(np.argmax(ranks))]),
            }
        )
    inputs = {
        "random": None,
        "forest, choices": features(space, cells),
        "forest, choices + proxies": features(space, cells, proxies=scores),
    }
    content = {
        "about": header(),
        "cells": len(rows),
        "best": float(truth.max()),
        "mean": float(truth.mean()),
        "joint": joint,
        "preselection": {
            name: [preselected(x, truth, seed) for seed in range(options.seeds)]
            for name, x in inputs.items()
        },
    }
    write_json(options.json, content)
    write_text(options.json.with_suffix(".md"), show(content))
    print(show(content))


if __name__ == "__main__":
    main()
