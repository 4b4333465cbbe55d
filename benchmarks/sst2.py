"""SST-2: half of an encoder's layers, found by a search, beside the whole, even and random halves.

Runs ``nas-domains search`` on a checkpoint once a seed, with a limit on parameters that half of
the encoder's layers keep and one on latency, half of the whole network's on this machine
(``--faster 2``; 0 for none). Writes ``sst2.json`` and ``sst2.md`` (another ``--name`` for other
texts) beside this file. A killed study goes on where it was: finished seeds are read, a begun one
is resumed.

All rows are parts of what was fine-tuned once, and are trained alike; a tenth of the training
sentences selects, and the development sentences (the test here) are scored once a trained network.

    python benchmarks/sst2.py sst2_train.tsv sst2_dev.tsv --checkpoint all-minilm-l6-v2/
    python benchmarks/sst2.py trec6_train.tsv trec6_test.tsv --checkpoint DIR --name trec6_parts \
        --faster 0
    python benchmarks/sst2.py trec6_train.tsv trec6_test.tsv --checkpoint DIR --name trec6_latency
    python benchmarks/sst2.py trec6_train.tsv trec6_test.tsv --checkpoint DIR --name trec6_front \
        --front
    python benchmarks/sst2.py trec6_train.tsv trec6_test.tsv --checkpoint DIR --name trec6_hidden \
        --faster 0 --hidden 0.5-0.75-1

With ``--front`` there is no limit: accuracy is weighed against the measured latency, and the table
has the front too. Its scores are those of the search: of parts in shared weights, on the texts
that select, with latencies measured one by one on the machine.
    python benchmarks/sst2.py                     # the committed table again
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
LATENCY_SENTENCES = 60
"""Sentences of the test, evenly spaced by length, on which networks are timed in turn."""


def limit_of(checkpoint: str) -> int:
    """Parameters of a network with half of the layers' parameters, and all else."""
    from nas_domains import load_space

    space: Any = load_space(f"transformer:checkpoint={checkpoint}")
    table = space.cost_tables((16,), 2)["params"]
    return int(table.base + (table.cost(space.largest()) - table.base) / 2)


def latency_limit(runs: Path, arguments: argparse.Namespace) -> str:
    """The limit on latency: the whole network's over ``--faster``, measured once a study."""
    from nas_domains import load_space
    from nas_domains.core.task import load_task
    from nas_domains.evaluation.score import costs

    kept = runs / "whole_latency_ms.json"
    if not kept.exists():
        checkpoint = arguments.checkpoint
        task = load_task(arguments.train, test=arguments.test, checkpoint=checkpoint)
        space: Any = load_space(f"transformer:checkpoint={checkpoint}")
        network = space.build(space.largest(), task.input_shape, task.outputs)
        measured = [costs(network, task)["latency_ms"] for _ in range(9)]
        runs.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(measured), encoding="utf-8")
    whole = statistics.median(json.loads(kept.read_text(encoding="utf-8")))
    return f"latency_ms<={whole / arguments.faster:.3g}"


def without_places(study: dict[str, Any]) -> dict[str, Any]:
    """A record that names files and folders, but not where they lie on this machine."""
    found: dict[str, Any] = json.loads(
        re.sub(r'(["=])/(?:[^/",]+/)+', r"\1", json.dumps(study))
    )
    return found


def run_seed(runs: Path, seed: int, options: list[str]) -> Path:
    """The finished run of a seed; searched, resumed or found, if begun with these options."""
    out, asked = runs / f"seed{seed}", runs / f"seed{seed}.options.json"
    command = [sys.executable, "-m", "nas_domains.cli"]
    if (out / "config.yaml").exists():
        if json.loads(asked.read_text(encoding="utf-8")) != options:
            sys.exit(f"{out} was begun with other options: name another folder with --runs.")
        command += ["resume", str(out)]
    else:
        runs.mkdir(parents=True, exist_ok=True)
        asked.write_text(json.dumps(options), encoding="utf-8")
        command += ["search", "--seed", str(seed), "--out", str(out), *options]
    subprocess.run(command, check=True)
    return out


def tests_of(out: Path) -> dict[str, Any]:
    """Row -> the record of its test, of a run."""
    from nas_domains.core.history import History

    return {
        record.stage.removeprefix("test/").rpartition("/")[0]: record
        for record in History(out / "history.jsonl")
        if record.stage.startswith("test/")
    }


def task_of(out: Path) -> Any:
    """The task of a run."""
    from nas_domains.core.run import Run
    from nas_domains.core.task import load_task

    config = Run.open(out).config
    return load_task(config["task"], **config["task_options"])


def answers(out: Path, task: Any) -> dict[str, list[int]]:
    """Row -> 1 for each test text that it got right, else 0."""
    labels = [int(task.test[i][1]) for i in range(len(task.test))]
    return {
        name: [int(p == y) for p, y in zip(record.detail["predicted"], labels, strict=True)]
        for name, record in tests_of(out).items()
    }


def read_run(out: Path) -> dict[str, Any]:
    """What the table needs of a run: its result, and which test sentences each row got right."""
    from nas_domains.core.run import Run

    task, result = task_of(out), Run.open(out).result
    winner = tests_of(out)["winner"]
    spent = winner.seconds + winner.detail["train_seconds"]
    return {
        "result": result,
        "right": answers(out, task),
        "winner_seconds": result["prepare_seconds"] + result["search_seconds"] + spent,
        **time_rows(out, task, result),
    }


def time_rows(out: Path, task: Any, result: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Mean milliseconds a sentence, one at a time, networks in turn: median of 7 passes each.

    With the threads of this process, and with one where these are several.
    """
    import torch

    from nas_domains import load, load_space
    from nas_domains.core.run import Run

    space: Any = load_space("transformer", **Run.open(out).config["space_config"])
    winner = space.architecture(result["best"]["architecture"])
    named = space.references(winner, task.input_shape, task.outputs)
    networks = {"winner": load(out)}
    for name, architecture in named.items():
        networks[name] = space.build(architecture, task.input_shape, task.outputs).eval()
    order = sorted(range(len(task.test)), key=lambda i: len(task.test[i][0]))
    step = max(1, len(order) // LATENCY_SENTENCES)
    inputs = [task.test[i][0][None] for i in order[step // 2 :: step]]
    threads = torch.get_num_threads()
    found = {"latency_ms": time_in_turn(networks, inputs)}
    if threads > 1:
        torch.set_num_threads(1)
        found["latency_ms_one_thread"] = time_in_turn(networks, inputs)
        torch.set_num_threads(threads)
    return found


def time_in_turn(networks: dict[str, Any], inputs: list[Any]) -> dict[str, float]:
    """Network -> mean milliseconds of an input, the median of 7 passes after one."""
    import torch

    times: dict[str, list[float]] = {name: [] for name in networks}
    with torch.inference_mode():
        for passes in range(8):
            for name, network in networks.items():
                began = time.perf_counter()
                for x in inputs:
                    network(x)
                if passes:
                    times[name].append((time.perf_counter() - began) / len(inputs))
    return {name: 1000 * statistics.median(values) for name, values in times.items()}


def paired(seeds: list[dict[str, Any]], first: str, others: list[str]) -> tuple[float, float]:
    """Accuracy of one row minus the mean of others, and half its 95 % interval.

    Paired by sentence: the mean over seeds for each, then the spread over the sentences.
    """
    differences = []
    for i in range(len(seeds[0]["right"][first])):
        each = [
            s["right"][first][i] - statistics.fmean(s["right"][other][i] for other in others)
            for s in seeds
        ]
        differences.append(statistics.fmean(each))
    error = statistics.stdev(differences) / math.sqrt(len(differences))
    return statistics.fmean(differences), 1.96 * error


def markdown(study: dict[str, Any]) -> str:
    """The table as committed."""
    seeds = list(study["seeds"].values())
    first = seeds[0]["result"]
    environment = first["environment"]
    randoms = [name for name in seeds[0]["right"] if name.startswith("random/")]
    n = len(seeds[0]["right"]["winner"])
    columns = {
        key: text
        for key, text in (
            ("latency_ms", "latency of a sentence"),
            ("latency_ms_one_thread", "on one thread"),
        )
        if key in seeds[0]
    }
    lines = [
        f"# {study['name']}, {n} texts as the test",
        "",
        f"`nas-domains search {' '.join(study['options'])}`, seeds "
        f"{', '.join(study['seeds'])}; {environment['cpu']}, {environment['threads']} threads, "
        f"torch {environment['packages']['torch']}, commit {study['code']}. Means over seeds.",
        "",
        "| network | accuracy | parameters "
        + "".join(f"| {text}, ms | faster than the whole " for text in columns.values())
        + "|",
        "| --- | --- | --- |" + " --- | --- |" * len(columns),
    ]
    rows = {"whole": ["full"], "found": ["winner"], "even": ["uniform"], "random": randoms}
    for label, names in rows.items():
        accuracy = statistics.fmean(
            statistics.fmean(s["right"][name]) for s in seeds for name in names
        )
        params = statistics.fmean(metrics_of(s, name)["params"] for s in seeds for name in names)
        cells = [label, f"{accuracy:.4f}", f"{params:,.0f}"]
        for column in columns:
            timed = [s[column] for s in seeds if names[0] in s[column]]
            if not timed:
                cells += ["-", "-"]
                continue
            cells.append(f"{statistics.fmean(t[names[0]] for t in timed):.2f}")
            cells.append(f"{statistics.fmean(t['full'] / t[names[0]] for t in timed):.2f}")
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    for label, others in (("whole", ["full"]), ("even", ["uniform"]), ("random", randoms)):
        difference, half = paired(seeds, "winner", others)
        lines.append(
            f"- found minus {label}, paired over the sentences: {100 * difference:+.2f} points "
            f"± {100 * half:.2f} (95 %)"
        )
    for seed, s in study["seeds"].items():
        if study.get("front"):
            lines += ["", *front_lines(s["result"]), ""]
        tuned, searched = (s["result"][f"{k}_seconds"] / 60 for k in ("prepare", "search"))
        rest = s["winner_seconds"] / 60 - tuned
        lines.append(
            f"- seed {seed}: fine-tuning {tuned:.1f} minutes; search ({searched:.1f}) and "
            f"training of the winner, together {rest:.1f} minutes; plan "
            f"{json.dumps(s['result']['plan'])}; "
            f"{json.dumps(s['result']['best']['architecture'])}"
        )
    return "\n".join(lines) + "\n"


def front_lines(result: dict[str, Any]) -> list[str]:
    """The front of a search, the fastest first."""
    lines = [
        "| accuracy where it selects | latency, ms | parameters | heads of each layer | widths |",
        "| --- | --- | --- | --- | --- |",
    ]
    for member in sorted(result["pareto"], key=lambda m: float(m["metrics"]["latency_ms"])):
        metrics, architecture = member["metrics"], member["architecture"]
        heads, widths = (
            " ".join(str(v) for name, v in architecture.items() if name.endswith(kind))
            for kind in (".heads", ".width")
        )
        lines.append(
            f"| {metrics['accuracy']:.4f} | {metrics['latency_ms']:.2f} | "
            f"{metrics['params']:,.0f} | {heads} | {widths} |"
        )
    return lines


def metrics_of(seed: dict[str, Any], name: str) -> dict[str, Any]:
    """The test metrics of a row."""
    result = seed["result"]
    if name == "winner":
        found: dict[str, Any] = result["best"]["metrics"]
    elif name.startswith("random/"):
        found = result["random_baseline"]["metrics"][int(name.partition("/")[2])]
    else:
        found = result["baselines"][name]
    return found


def write(study: dict[str, Any]) -> None:
    """Writes the record and the table, and prints the table."""
    study = without_places(study)
    text = markdown(study)
    stem = HERE / study["name"]
    stem.with_suffix(".json").write_text(json.dumps(study, indent=1) + "\n", encoding="utf-8")
    stem.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def main() -> None:
    """Runs the study and writes its table after each seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("train", nargs="?", help="sst2_train.tsv; none: print again")
    parser.add_argument("test", nargs="?", help="sst2_dev.tsv")
    parser.add_argument("--checkpoint", help="folder of the encoder")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--strategy", default="ofa")
    parser.add_argument("--budget", default="epochs=1,trials=300")
    parser.add_argument("--train-budget", default="epochs=2")
    parser.add_argument("--tune", type=int, default=2, help="epochs of the whole network")
    parser.add_argument("--runs", type=Path, help="default: runs/NAME")
    parser.add_argument("--name", default="sst2", help="of the study and its files")
    parser.add_argument("--front", action="store_true", help="accuracy against latency")
    parser.add_argument("--faster", type=float, default=2, help="times the whole; 0: any speed")
    parser.add_argument("--hidden", help="shares of the features between blocks to choose from")
    parser.add_argument("--option", action="append", default=[], help="more, for the command")
    arguments = parser.parse_args()
    if arguments.train is None:
        file = HERE / f"{arguments.name}.json"
        print(markdown(json.loads(file.read_text(encoding="utf-8"))))
        return
    if not arguments.test or not arguments.checkpoint:
        parser.error("name the test file and --checkpoint")
    if arguments.faster < 0:
        parser.error("--faster is a factor, such as 2, or 0 for any speed")
    options = ["--data", arguments.train, "--option", f"test={Path(arguments.test).absolute()}"]
    space = f"transformer:checkpoint={arguments.checkpoint},tune={arguments.tune}"
    options += ["--space", space + (f",hidden={arguments.hidden}" if arguments.hidden else "")]
    options += ["--strategy", arguments.strategy, "--objective", "accuracy"]
    limit = f"params<={limit_of(arguments.checkpoint)}"
    options += ["--objective", "latency_ms" if arguments.front else limit]
    runs = arguments.runs or Path("runs") / arguments.name
    if arguments.faster and not arguments.front:
        options += ["--objective", latency_limit(runs, arguments)]
    options += ["--budget", arguments.budget, "--train-budget", arguments.train_budget]
    options += arguments.option
    command = ["git", "rev-parse", "--short", "HEAD"]
    code = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False).stdout
    study: dict[str, Any] = {
        "name": arguments.name,
        "code": code.strip() or "unknown",
        "options": options,
        "front": arguments.front,
        "seeds": {},
    }
    for seed in range(arguments.seeds):
        study["seeds"][str(seed)] = read_run(run_seed(runs, seed, options))
        write(study)


if __name__ == "__main__":
    main()
