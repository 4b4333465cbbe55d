"""Free Spoken Digits: small networks on its own split, and speakers never heard in training.

Three studies, each a ``nas-domains search`` a run, resumed or read where it was begun before:

- ``official``: the data set's own split (takes 0 to 4 are the test), three seeds, at most 20,000
  parameters. All speakers are heard in training, and a hand-made CNN gets everything right: what
  counts is the size.
- ``smallest``: the same split with less and less parameters, one seed each; the answer is the
  smallest winner that keeps 98 % on what selects.
- ``speakers``: each speaker in turn is the test and never heard in training; the winner beside the
  hand-made CNN on the same folds.

The test split is scored once a trained network, after everything that selects. Writes
``spoken_digits.json`` and ``.md`` beside this file after each run.

    python benchmarks/spoken_digits.py free-spoken-digit-dataset/recordings
    python benchmarks/spoken_digits.py                      # the committed table again
"""

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
STEM = "spoken_digits"
SPEAKERS = ("george", "jackson", "nicolas", "theo")
HAND_MADE = "cnn"
LIMIT = "params<=2e4"
SIZES, LEAST = (10_000, 7_000, 5_000, 3_500), 0.98
METRICS = (
    ("accuracy", "{:.4f}"),
    ("params", "{:,.0f}"),
    ("macs", "{:,.0f}"),
    ("latency_ms", "{:.2f}"),
)


def runs_of(studies: Sequence[str], seeds: int, speakers: Sequence[str]) -> dict[str, list[str]]:
    """Name of each run -> the options that it adds to those of all."""
    runs = {}
    best = ["--objective", "accuracy"]
    if "official" in studies:
        for seed in range(1, seeds + 1):
            own = ["--seed", str(seed), "--objective", LIMIT]
            runs[f"official/seed{seed}"] = [*best, *own]
    if "smallest" in studies:
        for size in SIZES:
            own = ["--seed", "1", "--randoms", "1", "--objective", f"params<={size}"]
            runs[f"smallest/{size}"] = [*best, *own]
    if "speakers" in studies:
        for speaker in speakers:
            own = ["--seed", "1", "--option", f"speaker=leave:{speaker}"]
            runs[f"speakers/{speaker}"] = [*best, *own]
    return runs


def result_of(data: Path, out: Path, options: list[str]) -> dict[str, Any]:
    """The result of one run; searched, resumed or read, if it was begun with these options."""
    command = [sys.executable, "-m", "nas_domains.cli"]
    asked = out.with_suffix(".options.json")
    if (out / "config.yaml").exists():
        if json.loads(asked.read_text(encoding="utf-8")) != options:
            sys.exit(f"{out} was begun with other options: name another folder with --runs.")
        command += ["resume", str(out)]
    else:
        out.parent.mkdir(parents=True, exist_ok=True)
        asked.write_text(json.dumps(options), encoding="utf-8")
        command += ["search", "--data", str(data), "--out", str(out), *options]
    subprocess.run(command, check=True)
    result: dict[str, Any] = json.loads((out / "result.json").read_text(encoding="utf-8"))
    for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["stage"] == "test/winner/0":
            result["winner_validation"] = record["detail"]["validation"]
    return result


def code() -> str:
    """The commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def mean_and_error(values: list[float]) -> tuple[float, float]:
    """Mean, and its standard error from the spread over runs; NaN of a single value."""
    if len(values) < 2:
        return values[0], float("nan")
    return statistics.fmean(values), statistics.stdev(values) / len(values) ** 0.5


def networks(result: dict[str, Any]) -> dict[str, list[dict[str, float]]]:
    """The test metrics of a run by kind of network."""
    return {
        "winner": [result["best"]["metrics"]],
        "random architectures": result["random_baseline"]["metrics"],
        "hand-made CNN": [result["baselines"][HAND_MADE]],
    }


def rows_of(results: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A row for each kind of network: means over the runs with their standard errors."""
    found = [networks(result) for result in results.values()]
    rows = []
    for name in found[0]:
        cells = [name]
        for metric, form in METRICS:
            values = [statistics.fmean(m[metric] for m in kinds[name]) for kinds in found]
            mean, error = mean_and_error(values)
            text = form.format(mean)
            cells.append(text if error != error else f"{text} ± {form.format(error)}")
        rows.append(cells)
    return rows


def gain(results: dict[str, dict[str, Any]], other: str) -> tuple[float, float]:
    """Accuracy of the winner minus that of another kind, paired by run, with its error."""
    differences = []
    for kinds in map(networks, results.values()):
        mean = statistics.fmean(m["accuracy"] for m in kinds[other])
        differences.append(kinds["winner"][0]["accuracy"] - mean)
    return mean_and_error(differences)


def smallest(results: dict[str, dict[str, Any]]) -> str:
    """A sentence on the smallest winner that is good enough where it selects."""
    good = [r for r in results.values() if r["winner_validation"]["accuracy"] >= LEAST]
    if not good:
        return f"no winner reaches {LEAST:.0%} on what selects"
    least = min(good, key=lambda r: r["best"]["metrics"]["params"])
    metrics = least["best"]["metrics"]
    return (
        f"the smallest winner with {LEAST:.0%} on what selects: {metrics['params']:,.0f} "
        f"parameters, test accuracy {metrics['accuracy']:.4f}"
    )


def by_size(results: dict[str, dict[str, Any]]) -> list[str]:
    """The table of one run a size."""
    lines = [
        "| parameters at most | winner's | its accuracy where it selects | on the test | random "
        "architecture, on the test | hand-made CNN | search, s |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, result in results.items():
        kinds = networks(result)
        (winner,), (random,), (cnn,) = kinds.values()
        cells = [
            f"{int(name.partition('/')[2]):,}",
            f"{winner['params']:,.0f}",
            f"{result['winner_validation']['accuracy']:.4f}",
            f"{winner['accuracy']:.4f}",
            f"{random['accuracy']:.4f} ({random['params']:,.0f})",
            f"{cnn['accuracy']:.4f}",
            f"{result['search_seconds']:.0f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


TITLES = {
    "official": "Own split (takes 0 to 4 are the test: 200 recordings), at most 20,000 parameters",
    "smallest": "The same split, smaller and smaller",
    "speakers": "A speaker never heard in training (500 recordings each)",
}


def markdown(study: dict[str, Any]) -> str:
    """The table as committed."""
    environment = next(iter(study["results"].values()))["environment"]
    lines = [
        "# Free Spoken Digits",
        "",
        f"`nas-domains search --data recordings {' '.join(study['options'])}`; "
        f"{environment['cpu']}, {environment['threads']} threads, "
        f"torch {environment['packages']['torch']}, commit {study['code']}. "
        "Mean over runs ± its standard error.",
    ]
    for part, title in TITLES.items():
        results = {n: r for n, r in study["results"].items() if n.startswith(part)}
        if not results:
            continue
        lines += ["", f"## {title}", ""]
        if part == "smallest":
            lines += [*by_size(results), "", f"- {smallest(results)}"]
            continue
        lines += ["| network | accuracy | parameters | MACs | latency, ms |"]
        lines += ["| --- | --- | --- | --- | --- |"]
        lines += ["| " + " | ".join(cells) + " |" for cells in rows_of(results)]
        lines.append("")
        for other in ("random architectures", "hand-made CNN"):
            difference, error = gain(results, other)
            lines.append(f"- winner minus {other}, paired: {difference:+.4f} ± {error:.4f}")
        for name, result in results.items():
            parts = [
                f"{kind} {', '.join(format(m['accuracy'], '.4f') for m in metrics)}"
                for kind, metrics in networks(result).items()
            ]
            lines.append(
                f"- {name.partition('/')[2]}: {'; '.join(parts)}; winner "
                f"{result['best']['metrics']['params']:,.0f} parameters; "
                f"search {result['search_seconds']:.0f} s, trainings "
                f"{result['train_seconds']:.0f} s; plan {json.dumps(result['plan'])}"
            )
    return "\n".join(lines) + "\n"


def write(study: dict[str, Any], folder: Path) -> None:
    """Writes the record and the table, and prints the table."""
    text = markdown(study)
    record = json.dumps(study, indent=1) + "\n"
    (folder / f"{STEM}.json").write_text(record, encoding="utf-8")
    (folder / f"{STEM}.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    """Runs the studies and writes the table after each run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="folder; none: print the table again")
    parser.add_argument("--studies", nargs="+", choices=list(TITLES), default=list(TITLES))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--speakers", nargs="+", default=list(SPEAKERS))
    parser.add_argument("--runs", type=Path, default=Path("runs") / STEM)
    parser.add_argument("--tables", type=Path, default=HERE, help="where the table goes")
    parser.add_argument("--space", default="keyword")
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--train-budget", default="3m")
    arguments = parser.parse_args()
    if arguments.data is None:
        record = (arguments.tables / f"{STEM}.json").read_text(encoding="utf-8")
        print(markdown(json.loads(record)))
        return
    shared = ["--space", arguments.space, "--strategy", arguments.strategy]
    shared += ["--budget", arguments.budget, "--train-budget", arguments.train_budget]
    study: dict[str, Any] = {"code": code(), "options": shared, "results": {}}
    runs = runs_of(arguments.studies, arguments.seeds, arguments.speakers)
    for name, options in runs.items():
        out = arguments.runs / name
        study["results"][name] = result_of(arguments.data, out, [*shared, *options])
        write(study, arguments.tables)


if __name__ == "__main__":
    main()
