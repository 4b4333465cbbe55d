"""What a run cost, what it was made with, and how to make it again."""

import shlex
from typing import Any

from ..core.errors import UsageError
from ..core.space_text import load_space
from .content import Content
from .words import duration, known, several

TASK_OPTIONS = ("split", "augment", "size")
"""Options of a task's loader that have names of their own on the command line."""


def command(content: Content) -> str | None:
    """The command line that makes the same run in another directory.

    Returns:
        None where there is none: a space or task made in Python. One option a line.
    """
    config = content.config
    space, options = _space(config), dict(config.get("task_options") or {})
    if space is None or not config.get("task"):
        return None
    pairs = [("data", config["task"]), ("space", space), ("strategy", config["strategy"])]
    pairs += [("objective", objective) for objective in config.get("objectives") or []]
    keys = ("domain", "budget", "train_budget", "seed", "device", "precision", "randoms")
    pairs += [(key, config[key]) for key in (*keys, "train_seeds") if config.get(key) is not None]
    pairs += [("prior", run) for run in config.get("prior_runs") or []]
    if config.get("workers", 1) > 1:
        pairs.append(("workers", config["workers"]))
    pairs += [
        (key, value) if key in TASK_OPTIONS else ("option", f"{key}={value}")
        for key, value in options.items()
    ]
    if config.get("recipe"):
        fields = (f"{key}={_plain(value)}" for key, value in config["recipe"].items())
        pairs.append(("recipe", ",".join(fields)))
    if config.get("fidelity"):
        pairs.append(("fidelity", ",".join(f"{k}={v}" for k, v in config["fidelity"].items())))
    lines = [shlex.join([f"--{key.replace('_', '-')}", str(value)]) for key, value in pairs]
    if not config.get("validate", True):
        lines.append("--no-validate")
    if config.get("plan_from"):
        lines.append(shlex.join(["--plan", str(config["plan_from"])]))
    lines.append(shlex.join(["--out", f"{content.path.resolve().name}-again"]))
    return " \\\n  ".join(["nas-domains search", *lines])


def _space(config: dict[str, Any]) -> str | None:
    """The text that gives the very space: as it was written, or with all its sizes."""
    name = str(config["space"]).partition(":")[0]
    sizes = ",".join(f"{k}={_plain(v)}" for k, v in (config.get("space_config") or {}).items())
    for text in (str(config["space"]), f"{name}:{sizes}"):
        try:
            if load_space(text).fingerprint == config.get("space_fingerprint"):
                return text
        except (UsageError, ImportError):
            continue
    return None


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def spent(content: Content) -> list[tuple[str, str]]:
    """What the run cost and what was asked for, as (name, value)."""
    config = content.config
    plan = config.get("plan") or {}
    search = content.result.get("search_seconds", sum(r.seconds for r in content.search))
    training = content.result.get("train_seconds")
    if training is None:
        training = sum(
            r.seconds for r in content.records if r.stage.startswith(("train/", "test/"))
        )
    rows = [
        ("Search", f"{duration(search)}, {several(len(content.search), 'record')}"),
        ("Full training, all rows", duration(training)),
        ("Strategy", str(config.get("strategy"))),
        ("Objectives", ", ".join(map(str, content.objectives))),
        ("Budget asked for", _asked(config)),
        ("Exact plan", _plan(plan)),
        ("Batch size", _batch(config, plan)),
        (
            "Seed",
            f"{config.get('seed')}, with {several(config.get('train_seeds', 1), 'training')} "
            "of each row",
        ),
        ("Data", _data(config)),
    ]
    rows += [("About the data", str(note)) for note in config.get("notes") or []]
    recipe = config.get("recipe") or {}
    if recipe:
        rows.append(("Recipe, changed fields", ", ".join(f"{k}={v}" for k, v in recipe.items())))
    return rows


def _asked(config: dict[str, Any]) -> str:
    if config.get("plan_from"):
        return f"the plan of {config['plan_from']}"
    search, training = config.get("budget"), config.get("train_budget")
    return (
        f"search {search or 'the default of the strategy'}, "
        f"each full training {training or 'the epochs of the recipe'}"
    )


def _plan(plan: dict[str, Any]) -> str:
    if not plan:
        return "not made yet"
    parts = []
    for stage, name in (("search", "search"), ("train", "each full training")):
        counts = dict(plan.get(stage) or {})
        rows = counts.pop("rows", {})
        each = " each" if stage == "search" else ""
        known = counts.pop("each", [])
        if counts:
            said = ", ".join(
                f"{unit}={n}" + (each if unit == "seconds" else "") for unit, n in counts.items()
            )
            said += f" (epochs of {several(len(known), 'network')} told)" if known else ""
            own = ", ".join(f"{row} {n:g}" for row, n in rows.items())
            parts.append(f"{name} {said}" + (f" (epochs: {own})" if own else ""))
    return "; ".join(parts)


def _batch(config: dict[str, Any], plan: dict[str, Any]) -> str:
    size = plan.get("batch_size")
    recipe = config.get("recipe_used") or {}
    asked = None if config.get("plan_from") else recipe.get("batch_size")
    if not known(size):
        return "not known yet"
    if known(asked) and asked != size:
        return f"{size}, halved from {asked} as memory ran out"
    return str(size)


def _data(config: dict[str, Any]) -> str:
    parts = [str(config.get("task_name") or config.get("task"))]
    options = config.get("task_options") or {}
    parts += [f"{key}={value}" for key, value in options.items()]
    if config.get("task_fingerprint"):
        parts.append(f"fingerprint {config['task_fingerprint']}")
    return ", ".join(parts)


def machine(content: Content) -> list[tuple[str, str]]:
    """Machine, versions and backend, as (name, value)."""
    found = content.environment
    packages = {k: v for k, v in (found.get("packages") or {}).items() if v}
    backends = found.get("ops") or {}
    used = ", ".join(dict.fromkeys(map(str, backends.values())))
    isa = f", {found['isa']}" if found.get("isa") else ""
    rows = [
        ("Processor", f"{found.get('cpu')}, {several(found.get('cores') or 1, 'core')}"),
        (
            "Device",
            f"{found.get('device')}, {several(found.get('threads') or 1, 'thread')}, "
            f"{content.config.get('precision') or 'precision not known'}",
        ),
        ("Kernels", f"{used or 'not known'}{isa}"),
        ("Platform", str(found.get("platform"))),
        (
            "Versions",
            ", ".join(
                f"{name} {version}"
                for name, version in {
                    "nas_domains": found.get("nas_domains"),
                    "Python": found.get("python"),
                    **packages,
                }.items()
            ),
        ),
    ]
    return rows if found else []
