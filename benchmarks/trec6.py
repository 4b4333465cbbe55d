"""TREC-6 from scratch: head operators that were searched beside softmax heads alone.

Runs ``nas-domains search`` without a checkpoint once a seed and writes ``trec6.json`` and
``trec6.md`` beside this file. A killed study goes on where it was: finished seeds are read, a
begun one is resumed.

All rows are trained alike; a tenth of the training questions selects, and the test questions are
scored once a trained network. The row of softmax heads alone is as large as the winner.

    python benchmarks/trec6.py trec6_train.tsv trec6_test.tsv
    python benchmarks/trec6.py                     # the committed table again
"""

import argparse
import json
import statistics
from collections import Counter
from pathlib import Path
from typing import Any

from breastmnist import code
from sst2 import answers, metrics_of, paired, run_seed, task_of, without_places

HERE = Path(__file__).parent


def read_run(out: Path) -> dict[str, Any]:
    """What the table needs of a run: its result, and which questions each row got right."""
    from nas_domains.core.run import Run

    return {"result": Run.open(out).result, "right": answers(out, task_of(out))}


def markdown(study: dict[str, Any]) -> str:
    """The table as committed."""
    seeds = list(study["seeds"].values())
    first = seeds[0]["result"]
    environment = first["environment"]
    randoms = [name for name in seeds[0]["right"] if name.startswith("random/")]
    lines = [
        f"# TREC-6 from scratch, {len(seeds[0]['right']['winner'])} test questions",
        "",
        f"`nas-domains search {' '.join(study['options'])}`, seeds {', '.join(study['seeds'])}; "
        f"{environment['cpu']}, {environment['threads']} threads, torch "
        f"{environment['packages']['torch']}, commit {study['code']}. Means over seeds ± the "
        "standard deviation over them.",
        "",
        "| network | accuracy | parameters | MACs |",
        "| --- | --- | --- | --- |",
    ]
    rows = {"found": ["winner"], "softmax heads alone": ["softmax"], "random": randoms}
    for label, names in rows.items():
        each = [statistics.fmean(statistics.fmean(s["right"][n]) for n in names) for s in seeds]
        spread = f" ± {statistics.stdev(each):.4f}" if len(each) > 1 else ""
        costs = [
            statistics.fmean(metrics_of(s, n)[metric] for s in seeds for n in names)
            for metric in ("params", "macs")
        ]
        lines.append(
            f"| {label} | {statistics.fmean(each):.4f}{spread} | {costs[0]:,.0f} | "
            f"{costs[1]:,.0f} |"
        )
    lines.append("")
    for label, others in (("softmax", ["softmax"]), ("random", randoms)):
        difference, half = paired(seeds, "winner", others)
        lines.append(
            f"- found minus {label}, paired over the questions: {100 * difference:+.2f} points "
            f"± {100 * half:.2f} (95 %)"
        )
    for seed, s in study["seeds"].items():
        result = s["result"]
        architecture = result["best"]["architecture"]
        heads = Counter(o for name, o in architecture.items() if ".head" in name)
        counts = ", ".join(f"{name} {count}" for name, count in heads.most_common())
        lines.append(
            f"- seed {seed}: heads {counts}; search {result['search_seconds'] / 60:.1f} minutes; "
            f"plan {json.dumps(result['plan'])}; {json.dumps(architecture)}"
        )
    return "\n".join(lines) + "\n"


def write(study: dict[str, Any], place: Path) -> None:
    """Writes the record and the table, and prints the table."""
    study = without_places(study)
    text = markdown(study)
    (place / "trec6.json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    (place / "trec6.md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    """Runs the study and writes its table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", nargs="?", help="trec6_train.tsv; none: print again")
    parser.add_argument("test", nargs="?", help="trec6_test.tsv")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--space", default="text-heads")
    parser.add_argument("--strategy", default="ofa")
    parser.add_argument("--budget", default="5m")
    parser.add_argument("--train-budget", default="5m")
    parser.add_argument("--runs", type=Path, default=Path("runs/trec6"))
    parser.add_argument("--out", type=Path, default=HERE, help="folder of the table")
    parser.add_argument("--option", action="append", default=[], help="more, for the command")
    arguments = parser.parse_args()
    if arguments.train is None:
        print(markdown(json.loads((HERE / "trec6.json").read_text(encoding="utf-8"))))
        return
    if not arguments.test:
        parser.error("name the test file")
    options = ["--data", arguments.train, "--option", f"test={Path(arguments.test).absolute()}"]
    options += ["--space", arguments.space, "--strategy", arguments.strategy]
    options += ["--objective", "accuracy", "--budget", arguments.budget]
    options += ["--train-budget", arguments.train_budget, *arguments.option]
    study: dict[str, Any] = {"code": code(), "options": options, "seeds": {}}
    for seed in range(arguments.seeds):
        study["seeds"][str(seed)] = read_run(run_seed(arguments.runs, seed, options))
        write(study, arguments.out)


if __name__ == "__main__":
    main()
