"""Searches of NAS-Bench-201 that look their scores up, beside the samplers of Optuna.

    python benchmarks/nasbench201.py table.npz latency.npz --seeds 100 --peer-seeds 20 \
        --front-seeds 20 --json benchmarks/nasbench201.json

Three questions, a mean over seeds each:

- ``queries_to_optimum``: a query is the 200-epoch test accuracy; how many until a cell has the
  best of the table (two cells have it on CIFAR-10). A search ends after 300, which then count.
  Settings were chosen on CIFAR-10.
- ``realistic``: 200-epoch test accuracy, in percent, of the pick at the cost of 10 full trainings.
  83 cells are searched on 12-epoch validation accuracy, 0.06 of a full training each, and the five
  best of them trained in full; the pick has the best 200-epoch accuracy of the five. The table has
  that of the test split alone, so all rows select on it, as the published ones do. ``hyperband``
  trains in brackets: the best of 17 random cells, then 2 random ones without a first look.
- ``hypervolume``: accuracy (200 epochs, test) against tabulated latency, 150 queries, for each
  device; the share of the area that the table's own front dominates, from the reference point of
  median accuracy and largest latency.

The files are those of ``nas_domains.evaluation.table.TableEvaluator``. The JSON is written every
few seconds and a killed study goes on from it; ``--only`` runs some of the methods,
``--questions`` answers some of the questions, and ``--seeds`` may grow. The tables and the plot go
beside it, as ``.md`` and ``.png``. Without arguments the committed tables are printed.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna

import nas_domains as nd
from nas_domains.bench.harness import header
from nas_domains.core.architecture import Architecture
from nas_domains.core.files import write_atomic, write_text
from nas_domains.evaluation.table import TableEvaluator
from nas_domains.strategies.samplers.base import architecture_of, distributions
from nas_domains.strategies.samplers.bayes import Bayes
from nas_domains.strategies.samplers.local_search import LocalSearch
from nas_domains.testing.driven import driven

CAP = 300
LOW, FULL, LOW_COST = 83, 5, 0.06
FRONT_QUERIES = 150
SAVE_EVERY = 5.0
"""Seconds."""
DATASETS = ("cifar10", "cifar100")
OURS = ("bayes", "local_search", "evolution")
AUTO = "bayes"
"""What a search takes that is not told a strategy; reported as ``best_of_ours``."""
Score = Callable[[Architecture], tuple[float, ...]]


def search(
    method: str, space: nd.SearchSpace, seed: int, trials: int, score: Score, stop: float = np.inf
) -> list[tuple[Architecture, tuple[float, ...]]]:
    """The trials of a method in order; values are made large. Ends when the first gets to stop."""
    if method in OURS:
        # A study gives the same proposals (tests/strategies/samplers), and takes far longer.
        history = driven(ours(method, space, seed), trials, score, lambda o: o.values[0] >= stop)
        return [(o.architecture, o.values) for o in history]
    if method == "random":
        drawn = space.sample(trials, seed)
        found = [(a, score(a)) for a in drawn]
        ends = [i for i, (_, values) in enumerate(found) if values[0] >= stop]
        return found[: ends[0] + 1] if ends else found
    sampler = {
        "tpe": lambda: optuna.samplers.TPESampler(seed=seed, multivariate=True),
        "nsga2": lambda: optuna.samplers.NSGAIISampler(seed=seed),
        "gp": lambda: optuna.samplers.GPSampler(seed=seed),
    }[method]()
    choices = distributions(space)
    goals = len(score(space.sample(1, 0)[0]))
    study = optuna.create_study(directions=["maximize"] * goals, sampler=sampler)
    found = []
    for _ in range(trials):
        trial = study.ask(choices)
        architecture = architecture_of(space, trial.params)
        values = score(architecture)
        study.tell(trial, values)
        found.append((architecture, values))
        if values[0] >= stop:
            break
    return found


def ours(method: str, space: nd.SearchSpace, seed: int) -> Any:
    """A sampler of ours.

    Raises:
        ImportError: This version does not have it.
    """
    if method == "evolution":
        from nas_domains.strategies.samplers.evolution import AgingEvolution

        return AgingEvolution(space, seed=seed, population=20, tournament=5)
    return {"bayes": Bayes, "local_search": LocalSearch}[method](space, seed=seed)


def queries(space: nd.SearchSpace, table: TableEvaluator, method: str, seed: int) -> float:
    """Queries until the optimum, or the cap."""
    truth = table.columns["test_acc_200ep"]
    best = float(truth.max())
    found = search(method, space, seed, CAP, lambda a: (float(truth[table.row(a)]),), best)
    return float(len(found) if found[-1][1][0] >= best else CAP)


def realistic(space: nd.SearchSpace, table: TableEvaluator, method: str, seed: int) -> float:
    """Accuracy of the pick at a cost of 10 full trainings."""
    low, full = table.columns["val_acc_12ep"], table.columns["test_acc_200ep"]
    if method == "hyperband":
        return brackets(space, table, seed)
    found = search(method, space, seed, LOW, lambda a: (float(low[table.row(a)]),))
    scores = {table.row(a): v[0] for a, v in found}
    best = sorted(scores, key=lambda row: -scores[row])[:FULL]
    return max(float(full[row]) for row in best)


def brackets(space: nd.SearchSpace, table: TableEvaluator, seed: int) -> float:
    """Hyperband (Li et al. 2018) over the two fidelities of the table."""
    low, full = table.columns["val_acc_12ep"], table.columns["test_acc_200ep"]
    rng, left, best, first_look = np.random.default_rng(seed), LOW * LOW_COST + FULL, 0.0, True
    while left >= 1:
        n = min(17, int((left - 1 + 1e-9) / LOW_COST)) if first_look else 1
        drawn = [table.row(a) for a in space.sample(max(n, 1), rng)]
        rounds = 1 if first_look or left < 2 else 2
        for i in range(rounds):
            row = max(drawn, key=lambda r: low[r]) if first_look else drawn[0]
            best = max(best, float(full[row]))
            if i + 1 < rounds:
                drawn = [table.row(a) for a in space.sample(1, rng)]
        left -= rounds + (LOW_COST * n if first_look else 0)
        first_look = not first_look
    return best


def area(points: Sequence[tuple[float, ...]], reference: tuple[float, float]) -> float:
    """The area that points dominate, larger being better in both."""
    total, floor = 0.0, reference[1]
    for x, y in sorted(points, reverse=True):
        if x > reference[0] and y > floor:
            total += (x - reference[0]) * (y - floor)
            floor = y
    return total


def hypervolume(space: nd.SearchSpace, table: TableEvaluator, method: str, seed: int) -> float:
    """The share of the attainable area after a search of two objectives."""
    accuracy, latency = table.columns["test_acc_200ep"], table.columns["latency_ms"]
    reference = (float(np.median(accuracy)), -float(latency.max()))
    whole = [(float(a), -float(t)) for a, t in zip(accuracy, latency, strict=True)]
    found = search(method, space, seed, FRONT_QUERIES, lambda a: whole[table.row(a)])
    return area([values for _, values in found], reference) / area(whole, reference)


def mean(values: Sequence[float]) -> float:
    """Rounded to what is shown."""
    return round(statistics.fmean(values), 4)


def summarise(content: dict[str, Any]) -> None:
    """The means, from the runs."""
    runs = content["runs"]
    for question in ("queries_to_optimum", "realistic"):
        content[question] = {
            dataset: {m: mean(v) for m, v in methods.items() if v}
            for dataset, methods in runs[question].items()
        }
        for row in content[question].values():
            if AUTO in row:
                row["best_of_ours"] = row[AUTO]
    devices = runs["hypervolume"]
    methods = sorted({m for device in devices.values() for m in device})
    # Over the devices and seeds that all methods ran, so that the means compare.
    common = {key: min(len(own.get(m, [])) for m in methods) for key, own in devices.items()}
    content["hypervolume"] = {
        m: mean([v for key, own in devices.items() for v in own.get(m, [])[: common[key]]])
        for m in methods
        if any(common.values())
    }
    content["hypervolume_runs"] = sum(common.values())
    content["solved_within"] = {
        dataset: {m: [mean([n < cap for n in v]) for cap in (200, CAP)] for m, v in own.items()}
        for dataset, own in runs["queries_to_optimum"].items()
    }


def show(content: dict[str, Any]) -> str:
    """The tables in Markdown."""
    runs = content["runs"]
    lines = [
        "# Searches of NAS-Bench-201",
        "",
        "`benchmarks/nasbench201.py`, which says what each column is; "
        f"{content['about']['cpu']}. Means over seeds ± standard error.",
        "",
        "## Queries of the 200-epoch test accuracy until the optimum",
        "",
        "| method | seeds | CIFAR-10 | worst | in 200 | CIFAR-100 | worst | in 200 |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    asked = runs["queries_to_optimum"]
    for method in order(asked):
        row = [method, seeds(asked, method)]
        for dataset in DATASETS:
            values = asked.get(dataset, {}).get(method, [])
            share = f"{statistics.fmean(v <= 200 for v in values):.0%}" if values else "-"
            row += [spread(values, 1), f"{max(values, default=0):.0f}", share]
        lines.append(f"| {' | '.join(row)} |")
    lines += [
        "",
        "## The pick at the cost of 10 full trainings: 200-epoch test accuracy, %",
        "",
        "| method | seeds | CIFAR-10 | CIFAR-100 |",
        "| --- | --- | --- | --- |",
    ]
    asked = runs["realistic"]
    for method in reversed(order(asked)):
        cells = [spread(asked.get(d, {}).get(method, []), 2) for d in DATASETS]
        lines.append(f"| {method} | {seeds(asked, method)} | {' | '.join(cells)} |")
    asked = runs["hypervolume"]
    methods = list(reversed(order(asked)))
    lines += [
        "",
        f"## Accuracy against latency, {FRONT_QUERIES} queries: share of the attainable area",
        "",
        f"| device | seeds | {' | '.join(methods)} |",
        f"| --- | --- | {' | '.join('---' for _ in methods)} |",
    ]
    for device, own in sorted(asked.items()):
        count = "/".join(sorted({str(len(v)) for v in own.values()}))
        lines.append(
            f"| {device} | {count} | {' | '.join(spread(own.get(m, []), 4) for m in methods)} |"
        )
    if asked:
        means = [str(content["hypervolume"].get(m, "-")) for m in methods]
        lines.append(
            f"| mean of the {content['hypervolume_runs']} that all ran | | {' | '.join(means)} |"
        )
    return "\n".join(lines) + "\n"


def order(asked: dict[str, dict[str, list[float]]]) -> list[str]:
    """The methods, those with the smallest mean first."""
    found: dict[str, list[float]] = {}
    for own in asked.values():
        for method, values in own.items():
            found.setdefault(method, []).extend(values)
    return sorted((m for m, v in found.items() if v), key=lambda m: statistics.fmean(found[m]))


def seeds(asked: dict[str, dict[str, list[float]]], method: str) -> str:
    """How many seeds ran."""
    return "/".join(sorted({str(len(own.get(method, []))) for own in asked.values()}))


def spread(values: list[float], digits: int) -> str:
    """Mean ± standard error, which a single seed does not have."""
    if not values:
        return "-"
    text = f"{statistics.fmean(values):.{digits}f}"
    if len(values) == 1:
        return text
    return f"{text} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"


def plot(path: Path, content: dict[str, Any]) -> None:
    """Draws the share of seeds that found the optimum against the queries."""
    from matplotlib.figure import Figure

    asked = content["runs"]["queries_to_optimum"]
    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, dataset in zip(figure.subplots(1, 2, sharey=True), DATASETS, strict=True):
        for method in order(asked):
            values = np.sort([v for v in asked.get(dataset, {}).get(method, []) if v < CAP])
            total = len(asked.get(dataset, {}).get(method, []))
            if total:
                steps = np.arange(len(values) + 1) / total
                axes.step([0, *values, CAP], [*steps, steps[-1]], where="post", label=method)
        axes.set(xlabel="queries", xlim=(0, CAP), ylim=(0, 1.02), title=dataset)
    figure.axes[0].set_ylabel("share of seeds that found the optimum")
    figure.axes[1].legend(frameon=False, fontsize="small", loc="lower right")
    write_atomic(path, lambda part: figure.savefig(part, format="png", dpi=120))


def main() -> None:
    """Runs what is missing, then writes the tables and the plot."""
    if len(sys.argv) == 1:
        print(Path(__file__).with_suffix(".md").read_text(encoding="utf-8"))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path, help="the .npz of the benchmark")
    parser.add_argument("latency", type=Path, help="the .npz of latencies")
    parser.add_argument("--seeds", type=int, default=100, help="of ours, and of random")
    parser.add_argument("--peer-seeds", type=int, default=100, help="of tpe and nsga2")
    parser.add_argument("--gp-seeds", type=int, default=3, help="of Optuna's gp, which is slow")
    parser.add_argument("--front-seeds", type=int, default=20, help="of the hypervolume")
    parser.add_argument("--only", nargs="+", help="methods to run; all by default")
    parser.add_argument("--questions", nargs="+", help="to answer; all by default")
    parser.add_argument("--minutes", type=float, default=np.inf, help="after which it stops")
    parser.add_argument("--json", type=Path, required=True, help="what is written, and resumed")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    began = time.monotonic()
    content: dict[str, Any] = {"about": header(), "runs": {}}
    if options.json.exists():
        content = json.loads(options.json.read_text(encoding="utf-8"))
    runs = content["runs"]
    for question in ("queries_to_optimum", "realistic", "hypervolume"):
        runs.setdefault(question, {})
    space = nd.load_space("nasbench201")
    tables = {d: TableEvaluator(space, options.table, d) for d in DATASETS}
    with np.load(options.latency, allow_pickle=False) as file:
        devices = file["devices"].tolist()
    on_device = {
        d: TableEvaluator(space, options.table, latency=options.latency, device=d) for d in devices
    }
    plenty, peers = options.seeds, options.peer_seeds
    most = {"tpe": peers, "nsga2": peers, "gp": options.gp_seeds}
    jobs = [
        (question, ask, key, own, method, most.get(method, plenty))
        for question, ask, methods in (
            ("queries_to_optimum", queries, (*OURS, "tpe", "nsga2", "gp", "random")),
            ("realistic", realistic, (*OURS, "hyperband", "random")),
        )
        for method in methods
        for key, own in tables.items()
    ]
    jobs += [
        ("hypervolume", hypervolume, key, own, method, count + 1)
        for count in range(options.front_seeds)
        for method in ("bayes", "nsga2", "tpe", "random")
        for key, own in on_device.items()
    ]
    absent: set[str] = set()
    saved = began
    for question, ask, key, own, method, count in jobs:
        skipped = (options.only and method not in options.only) or (
            options.questions and question not in options.questions
        )
        if skipped or method in absent:
            continue
        values = runs[question].get(key, {}).get(method, [])
        while len(values) < count and time.monotonic() - began < 60 * options.minutes:
            try:
                values.append(round(ask(space, own, method, len(values)), 5))
                runs[question].setdefault(key, {})[method] = values
            except ImportError as error:
                print(f"{method} is left out: {error}", file=sys.stderr)
                absent.add(method)
                break
            if time.monotonic() - saved > SAVE_EVERY:
                save(options.json, content)
                saved = time.monotonic()
        print(f"{question}, {key}, {method}: {len(values)}", file=sys.stderr, flush=True)
    save(options.json, content)
    write_text(options.json.with_suffix(".md"), show(content))
    plot(options.json.with_suffix(".png"), content)
    print(show(content))


def save(path: Path, content: dict[str, Any]) -> None:
    """Writes the JSON, a line for each list of runs."""
    summarise(content)
    head = {name: value for name, value in content.items() if name != "runs"}
    runs = ",\n".join(
        f"  {json.dumps(question)}: {{\n"
        + ",\n".join(f"   {json.dumps(key)}: {json.dumps(own)}" for key, own in asked.items())
        + "\n  }"
        for question, asked in content["runs"].items()
    )
    text = json.dumps(head, indent=1, allow_nan=False).removesuffix("\n}")
    write_text(path, f'{text},\n "runs": {{\n{runs}\n }}\n}}\n')


if __name__ == "__main__":
    main()
