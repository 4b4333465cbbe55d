"""Handwritten digits: winners of black-box searches that train networks, beside random ones.

Runs ``nas-domains search`` on scikit-learn's digits once a strategy and seed, and writes
``digits.json`` and ``digits.md`` beside this file. A killed study goes on where it was: finished
searches are read, a begun one is resumed. The test split is scored once a trained network.

    python benchmarks/digits.py --seeds 3
    python benchmarks/digits.py --print                     # the committed table again
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from breastmnist import code, gain, mean_and_error, run_seed

HERE = Path(__file__).parent
JSON = HERE / "digits.json"
STRATEGIES = ("evolution", "reinforce", "bayes", "hyperband", "random")


def row(strategy: str, results: dict[str, dict[str, Any]]) -> str:
    """The line of a strategy."""
    columns = {
        "winner": [r["best"]["metrics"]["accuracy"] for r in results.values()],
        "random": [r["random_baseline"]["mean"] for r in results.values()],
        "hand": [next(iter(r["baselines"].values()))["accuracy"] for r in results.values()],
    }
    means = ["{:.4f} ± {:.4f}".format(*mean_and_error(v)) for v in columns.values()]
    trials = statistics.fmean(r["plan"]["search"]["trials"] for r in results.values())
    seconds = statistics.fmean(r["search_seconds"] for r in results.values())
    difference, error = gain(results)
    return (
        f"| {strategy} | {' '.join(results)} | {' | '.join(means)} | "
        f"{difference:+.4f} ± {error:.4f} | {trials:.0f} | {seconds:.0f} |"
    )


def markdown(study: dict[str, Any]) -> str:
    """The table as committed."""
    first = next(iter(next(iter(study["results"].values())).values()))
    environment = first["environment"]
    lines = [
        "# scikit-learn's handwritten digits, test split",
        "",
        f"`nas-domains search --data digits {' '.join(study['options'])}`; {environment['cpu']}, "
        f"{environment['threads']} threads, torch {environment['packages']['torch']}, commit "
        f"{study['code']}. Accuracy, mean over seeds ± its standard error. `random` is the mean "
        "of three random architectures trained like the winner, the hand-made network a ResNet-18 "
        "of quarter width; the gain is the winner minus the random ones, paired by seed.",
        "",
        "| strategy | seeds | winner | random | hand-made | gain | trials | search, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [row(name, results) for name, results in study["results"].items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs what is missing, and writes the table after each search."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategies", nargs="+", default=STRATEGIES)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--space", default="darts:cells=2,channels=8")
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--train-budget", default="20s")
    parser.add_argument("--runs", type=Path, default=Path("runs/digits"))
    parser.add_argument("--print", action="store_true", help="the committed table")
    arguments = parser.parse_args()
    if arguments.print:
        print(markdown(json.loads(JSON.read_text(encoding="utf-8"))))
        return
    shared = ["--space", arguments.space, "--budget", arguments.budget]
    shared += ["--train-budget", arguments.train_budget]
    study: dict[str, Any] = {"code": code(), "options": shared, "results": {}}
    for seed in range(1, arguments.seeds + 1):
        for strategy in arguments.strategies:
            options = [*shared, "--strategy", strategy]
            result = run_seed(Path("digits"), arguments.runs / strategy, seed, options)
            study["results"].setdefault(strategy, {})[str(seed)] = result
            text = json.dumps(study, indent=1) + "\n"
            JSON.write_text(text, encoding="utf-8")
            JSON.with_suffix(".md").write_text(markdown(study), encoding="utf-8")
    print(markdown(study))


if __name__ == "__main__":
    main()
