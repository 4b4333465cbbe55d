"""The one entry that composes all of it: ``search`` and ``resume``."""

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from .core.errors import UsageError
from .core.files import plain
from .core.history import SEARCH
from .core.objective import made_small
from .core.progress import Reporter
from .core.registry import spaces
from .core.run import CHECKPOINTS, REPORT, Run
from .core.space import SearchSpace
from .core.space_text import load_space
from .core.task import Task, find_loader, load_task
from .evaluation.context import resolve_device, resolve_precision
from .nn.cell_space import CellSpace
from .nn.model_space import Model, space_of
from .strategies.blackbox import BlackBox
from .strategies.prior import best_of
from .strategies.study import forget, open_storage, whole_url
from .work import Work

FOLDERS = "checkpoint", "features"
"""Options of tasks that name folders."""


def search(
    space: str | SearchSpace | Model | None,
    task: str | Task,
    *,
    out: str | Path,
    strategy: str = "auto",
    objectives: Sequence[str] = (),
    budget: str | None = None,
    train_budget: str | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "auto",
    validate: bool = True,
    randoms: int = 3,
    train_seeds: int = 1,
    plan: str | Path | None = None,
    domain: str | None = None,
    task_options: dict[str, Any] | None = None,
    recipe: dict[str, Any] | None = None,
    workers: int = 1,
    storage: str | None = None,
    priors: Sequence[str | Path] = (),
    fidelity: dict[str, float] | None = None,
    quiet: bool = False,
) -> Run:
    """Searches a network, trains it fully, and compares it with random and hand-made ones.

    Args:
        space: A space, a text such as ``darts:cells=4,channels=8``, or a model with OneOfs and
            what makes one, as :class:`ModelSpace` takes it; the task's own where None.
        task: A task, or what :func:`load_task` reads.
        out: Run directory; must not hold a run.
        strategy: A registered name; "auto" picks by what the space can do, and says so.
        objectives: E.g. ``["accuracy", "params<=1e6"]``; the task's first metric by default.
        budget: Of the search: a time (``10m``) or a count; the strategy's own where None.
        train_budget: Of each full training: a time or ``epochs=N``; the recipe's where None.
        seed: Of everything random.
        device: "auto", "cpu" or "cuda".
        precision: "auto", "float32" or "bfloat16".
        validate: Whether random and hand-made networks are trained beside the winner.
        randoms: How many random architectures.
        train_seeds: Trainings of each row, on the same seeds.
        plan: A run whose exact plan is repeated instead of the budgets.
        domain: Domain of the data, where that alone does not tell.
        task_options: Options of the task's loader.
        recipe: Fields of the training recipe to change, e.g. ``{"lr": 0.1}``.
        workers: Processes on this machine that evaluate architectures, for black-box strategies.
        storage: Optuna's storage for them, as a URL; ``study.db`` in the run directory where None.
        priors: Finished runs in the same choices, whose best architectures they score first.
        fidelity: Shares of a black-box trial's "data" and "resolution", e.g. ``{"data": 0.25}``;
            winners are trained on all of it.
        quiet: Show no progress.

    Returns:
        The finished run.

    Raises:
        UsageError: Anything wrong with an input or option; nothing is left behind.
    """
    task_options, recipe, seed = plain(task_options or {}), plain(recipe or {}), int(seed)
    # As full paths, so that the run resumes from any folder.
    task_options |= {k: _place(v) for k, v in task_options.items() if k in FOLDERS}
    if randoms < 1 or train_seeds < 1:
        raise UsageError("--randoms and --train-seeds must be at least 1.")
    if plan is not None and (budget or train_budget):
        raise UsageError(
            "--plan repeats the plan of a run: leave --budget and --train-budget out."
        )
    if workers < 1:
        raise UsageError(f"--workers {workers} is too few: 1 is the least.")
    if storage is not None:
        storage = whole_url(storage)
        open_storage(storage).engine.dispose()
    # A mistake in a space is found before any data is read.
    made_space = None if space is None else _space(space)
    if made_space is not None and isinstance(task, str):
        task_options = _with_options(made_space, task_options)
    loaded = _load(task, domain, task_options)
    resolved = resolve_device(device)
    reporter = Reporter(quiet)
    if space is None or made_space is None:
        space, made_space = loaded.space, _space(loaded.space)
        reporter.say(f"Space: {space}")
    if loaded.domain == "medical":
        for note in loaded.notes:
            reporter.say(note)
    name = strategy
    if strategy == "auto":
        name, why = automatic(made_space)
        reporter.say(f"Strategy: {name} (the space {made_space.name!r} {why})")
    config: dict[str, Any] = {
        "space": space if isinstance(space, str) else made_space.name,
        "space_config": dict(made_space.config),
        "space_fingerprint": made_space.fingerprint,
        # As a full path, so that the run resumes from any folder.
        "task": None if isinstance(task, Task) else _source(task, domain),
        "task_name": loaded.name,
        "domain": domain,
        "task_options": task_options,
        "task_fingerprint": loaded.fingerprint(),
        "notes": list(loaded.notes),
        "classes": list(loaded.classes),
        "made_small": made_small(loaded.metrics),
        "strategy": name,
        "objectives": list(objectives),
        "budget": budget,
        "train_budget": train_budget,
        "seed": seed,
        "device": resolved,
        "precision": resolve_precision(precision, resolved),
        "threads": torch.get_num_threads(),
        "validate": validate,
        "randoms": randoms,
        "train_seeds": train_seeds,
        "recipe": recipe,
        "workers": workers,
        "storage": storage,
        # Read now: a prior may be moved or deleted while this run goes on.
        "fidelity": _shares(fidelity or {}),
        "prior_runs": [os.path.abspath(prior) for prior in priors],
        "priors": [best_of(prior, made_space, loaded.metrics) for prior in priors],
    }
    if plan is not None:
        config["plan"], config["told"] = _plan_of(plan, name)
        config["plan_from"] = str(plan)
    work = Work.prepare(config, made_space, loaded, reporter)
    config["recipe_used"] = asdict(work.task.recipe)
    if isinstance(work.strategy, BlackBox) and work.strategy.learns:
        config["begin_with"] = [dict(a) for a in made_space.begin_with()]
    if (
        plan is not None
        and recipe.get("batch_size", config["plan"]["batch_size"])
        != (config["plan"]["batch_size"])
    ):
        raise UsageError(
            f"The plan of {str(plan)!r} has a batch of {config['plan']['batch_size']}: leave "
            "batch_size out of --recipe."
        )
    run = Run.create(out, config)
    try:
        return work.finish(run)
    except UsageError:
        # What workers have begun lies in files of their own until a trial has ended.
        if not len(run.history) and not any((run.path / CHECKPOINTS).rglob("*.jsonl")):
            run.discard()
            if storage is not None:
                forget(storage, run.path)
        raise
    finally:
        run.unlock()


def automatic(space: SearchSpace) -> tuple[str, str]:
    """The strategy that "auto" takes for a space, and why."""
    if space.strategy:
        return space.strategy, "has a strategy of its own"
    if isinstance(space, CellSpace):
        return "robust", "has a supernet of cells"
    if space.mixes:
        return "darts", "has a supernet that mixes its candidates"
    if space.has_supernet:
        return "ofa", "has a supernet that runs one architecture at a time"
    return "bayes", "has no supernet"


def resume(
    path: str | Path,
    *,
    space: SearchSpace | Model | None = None,
    task: Task | None = None,
    quiet: bool = False,
) -> Run:
    """Goes on with a run that was stopped; its result is that of a run that was not.

    Args:
        path: The run directory. A finished run is returned as it is.
        space: The space or model, where the run was made with one that is not registered.
        task: The task, where the run was made with one in Python.
        quiet: Show no progress.

    Raises:
        UsageError: No run there, it is in use, or its data or space are not those it began with.
    """
    run = Run.open(path)
    if run.finished:
        return _with_report(run)
    run.lock()
    try:
        # Read again: another process may have planned or ended it before the lock was ours.
        run.config = Run.open(path).config
        if run.finished:
            return _with_report(run)
        return _prepare_again(run, space, task, Reporter(quiet)).finish(run)
    finally:
        run.unlock()


def _with_report(run: Run) -> Run:
    """A kill may have come between the result and the report."""
    if not (run.path / REPORT).exists():
        run.report()
    return run


def _prepare_again(
    run: Run, space: SearchSpace | Model | None, task: Task | None, reporter: Reporter
) -> Work:
    """The work of a run that exists, on the space and the data that it began with."""
    config, path = run.config, str(run.path)
    if space is None:
        name = config["space"].partition(":")[0]
        if name not in spaces:
            raise UsageError(
                f"The space {config['space']!r} of {path!r} is not registered: pass it as "
                "nas_domains.resume(..., space=...)."
            )
        space = spaces.get(name, **config["space_config"])
    space = space_of(space)
    if space.fingerprint != config["space_fingerprint"]:
        raise UsageError(
            f"The run {path!r} was made with another space ({config['space_fingerprint']}, "
            f"not {space.fingerprint}): resume it with its own."
        )
    if task is None:
        if config["task"] is None:
            raise UsageError(
                f"The task {config['task_name']!r} of {path!r} was made in Python: pass it "
                "as nas_domains.resume(..., task=...)."
            )
        task = _load(config["task"], config["domain"], config["task_options"])
    if task.fingerprint() != config["task_fingerprint"]:
        raise UsageError(
            f"The data of {config['task_name']!r} is not what the run {path!r} began with: "
            "restore it, or start a new run."
        )
    resolve_device(config["device"])
    torch.set_num_threads(config["threads"])
    return Work.prepare(config, space, task, reporter)


def _shares(fidelity: dict[str, float]) -> dict[str, float]:
    for name in fidelity:
        if name not in ("data", "resolution"):
            raise UsageError(
                f"--fidelity takes no {name!r}: write data=0.5,resolution=0.5; epochs go into "
                "--budget."
            )
    shares: dict[str, float] = plain(fidelity)
    return shares


def _space(space: str | SearchSpace | Model) -> SearchSpace:
    return load_space(space) if isinstance(space, str) else space_of(space)


def _with_options(space: SearchSpace, options: dict[str, Any]) -> dict[str, Any]:
    """The options of a task with those that a space needs."""
    needed: dict[str, Any] = plain(dict(space.task_options))
    for name, value in needed.items():
        given = str(options.get(name, value))
        if given != str(value) and os.path.realpath(given) != os.path.realpath(str(value)):
            raise UsageError(
                f"--option {name}={given} is not what the space {space.name!r} has ({value}): "
                "say it in --space alone."
            )
    # Its own form of what was just found to be the same.
    return options | needed


def _place(named: Any) -> Any:
    """A path as a full one; what is none stays."""
    return os.path.abspath(named) if os.path.exists(str(named)) else named


def _source(task: str, domain: str | None) -> str:
    """A task's path as a full one; a bundled one's name, even where a folder is called so."""
    place, loader = str(_place(task)), find_loader(task, domain)
    return task if loader.accepts(task) and not loader.accepts(place) else place


def _load(task: str | Task, domain: str | None, options: dict[str, Any]) -> Task:
    if isinstance(task, Task):
        if domain or options:
            raise UsageError("A task made in Python takes no domain and no options of a loader.")
        return task
    return load_task(task, domain=domain, **options)


def _plan_of(path: str | Path, strategy: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The plan of another run, and the epochs of its rows with their architectures.

    A row of the same name may be another network here, which takes another time for an epoch.
    """
    other = Run.open(path)
    if "plan" not in other.config:
        raise UsageError(
            f"The run {str(path)!r} has no plan yet: let it begin, or give a --budget."
        )
    if other.config["strategy"] != strategy:
        raise UsageError(
            f"The plan of {str(path)!r} is one of {other.config['strategy']!r}, not of "
            f"{strategy!r}: use the same --strategy."
        )
    plan: dict[str, Any] = copy.deepcopy(other.config["plan"])
    if "seconds" in plan["search"]:
        # What each network's speed made of its time there, or in the run whose plan that repeats.
        rows = [
            {"architecture": r.architecture, "fidelity": dict(r.fidelity)}
            for r in other.history.of(SEARCH)
            if not r.detail.get("refused")
        ]
        known = [row["architecture"] for row in rows]
        before = plan["search"].get("each", [])
        plan["search"]["each"] = rows + [r for r in before if r["architecture"] not in known]
    told = [
        {"row": name, "epochs": epochs, "architecture": records[0].architecture}
        for name, epochs in plan["train"].get("rows", {}).items()
        if (records := other.history.of(f"train/{name}/0"))
    ]
    if told:
        plan["train"]["rows"] = {}
    return plan, told
