"""Why the winner won: which choices mattered, what each of its own is worth, and who came next."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import (
    BaseImportanceEvaluator,
    FanovaImportanceEvaluator,
    PedAnovaImportanceEvaluator,
)
from optuna.trial import FrozenTrial, create_trial

from ..core.architecture import Architecture
from ..core.history import Record
from ..core.registry import predictors
from ..core.seeds import derive
from ..core.space import SearchSpace
from .context import Context
from .predictors.features import features

LEAST = 8
"""Architectures below which nothing is learnt from their scores."""
RESAMPLES, TREES = 5, 16
"""Draws with replacement over which an importance scatters, and trees of each forest."""
MOST = 300
"""Architectures of a draw, as fANOVA takes seconds for more."""
PREDICTOR = "gp"
"""What says how an architecture would have scored that the search did not score."""

Scored = Mapping[Architecture, float]


def explain(
    context: Context,
    records: Sequence[Record],
    worths: Sequence[float],
    winner: Record,
    worth: str = "",
) -> dict[str, Any] | None:
    """What the scored architectures of a search say about its winner.

    All of it is about the scores of the search (on validation, after its short trainings), not
    about the full trainings. Only records that were scored as the winner was count: by as many
    epochs, or in the same time.

    Args:
        context: Of the run.
        records: Of the search.
        worths: Of each record; larger is better.
        winner: One of the records.
        worth: What worths are, in words; "" where the goal's score.

    Returns:
        {"n", "metric", "worth", "importance", "leave_one_out", "runner_up"}: the architectures
        that count; the goal, or None where the search ranked by something else; see
        :func:`importance`, :func:`left_out` and :func:`runner_up`. None where the search did not
        score architectures one by one, or the winner alone.
    """
    if winner.architecture is None or any("train_loss" in r.detail for r in records):
        return None
    space = context.space
    alike = {
        space.architecture(r.architecture): (worth, r)
        for r, worth in zip(records, worths, strict=True)
        if r.architecture is not None
        and _spent(r) == _spent(winner)
        and math.isfinite(worth)
    }
    best = space.architecture(winner.architecture)
    if best not in alike or len(alike) < 2:
        return None
    scored = {a: worth for a, (worth, _) in alike.items()}
    return {
        "n": len(scored),
        "metric": None if worth else _metric(context, winner),
        "worth": worth,
        "importance": importance(space, scored, context.seed),
        "leave_one_out": left_out(space, scored, best, context.seed),
        "runner_up": runner_up(context, alike, best, worth),
    }


def _spent(record: Record) -> dict[str, Any]:
    """What was spent on a score, alike where scores compare: a time, or else the epochs."""
    seen = dict(record.fidelity)
    return {k: v for k, v in seen.items() if k != "epochs" or "seconds" not in seen}


def _metric(context: Context, record: Record) -> str | None:
    """The goal, or None where the search did not measure it."""
    metric = context.goal.metric
    return metric if record.metrics.get(metric) is not None else None


def importance(
    space: SearchSpace, scored: Scored, seed: int
) -> dict[str, dict[str, dict[str, float]]] | None:
    """How much of the scores' variance each choice explains.

    fANOVA (Hutter, Hoos & Leyton-Brown 2014) is of all scores, PED-ANOVA (Watanabe, Bansal &
    Hutter 2023, arXiv 2304.10255) of those of the best tenth; both are Optuna's, and add up to 1.

    Args:
        space: Of the architectures.
        scored: Architecture -> score.
        seed: Of forests and resamples.

    Returns:
        Choice -> "fanova" and "ped_anova" -> "mean" and "std" over resamples; None of fewer than
        ``LEAST`` architectures, or where all score alike.
    """
    if len(scored) < LEAST or len(set(scored.values())) == 1:
        return None
    options: dict[str, BaseDistribution] = {
        c.name: CategoricalDistribution(c.options) for c in space.choices
    }
    first = {c.name: c.options[0] for c in space.choices}
    trials = [
        create_trial(params=first | dict(a), distributions=options, value=float(worth))
        for a, worth in zip(scored, _standardised(list(scored.values())), strict=True)
    ]
    found: dict[str, list[dict[str, float]]] = {"fanova": [], "ped_anova": []}
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # That PED-ANOVA is experimental to Optuna, and that few trials are among the best.
        warnings.simplefilter("ignore", ExperimentalWarning)
        warnings.simplefilter("ignore", UserWarning)
        try:
            for i in range(RESAMPLES):
                rng = np.random.default_rng(derive(seed, "importance", i))
                size = min(len(trials), MOST)
                drawn = [trials[j] for j in rng.integers(len(trials), size=size).tolist()]
                forest = derive(seed, "fanova", i) % 2**32
                fanova = FanovaImportanceEvaluator(n_trees=TREES, seed=forest)
                found["fanova"].append(_importance(drawn, fanova))
                found["ped_anova"].append(_importance(drawn, PedAnovaImportanceEvaluator()))
        finally:
            optuna.logging.set_verbosity(before)
    shares = {kind: [d for d in draws if d] for kind, draws in found.items()}
    return {
        choice.name: {
            kind: {
                "mean": float(np.mean([d.get(choice.name, 0.0) for d in draws])),
                "std": float(np.std([d.get(choice.name, 0.0) for d in draws])),
            }
            for kind, draws in shares.items()
            if draws
        }
        for choice in space.choices
        if len(choice.options) > 1
    }


def _standardised(values: Sequence[float]) -> npt.NDArray[np.float64]:
    """Of mean 0 and deviation 1: forests take very small differences for none."""
    array = np.asarray(values, dtype=np.float64)
    middle = array - array.mean()
    scaled = middle / np.abs(middle).max()
    found: npt.NDArray[np.float64] = scaled / scaled.std()
    return found


def _importance(
    trials: Sequence[FrozenTrial], evaluator: BaseImportanceEvaluator
) -> dict[str, float]:
    """The shares by Optuna; empty where the trials drawn all score alike."""
    if len({trial.value for trial in trials}) == 1:
        return {}
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return found if all(map(math.isfinite, found.values())) else {}


def left_out(
    space: SearchSpace, scored: Scored, best: Architecture, seed: int
) -> list[dict[str, Any]]:
    """What the winner would lose by another option of one of its choices.

    Args:
        space: Of the architectures.
        scored: Architecture -> score.
        best: The winner.
        seed: Of the predictor.

    Returns:
        For each choice {"choice", "option", "others"}; an other is {"option", "loss", "std",
        "source"}. The loss is positive where the winner's option is better. Where the search
        scored the other the source is "measured" and std is None; else it is "predicted", by a
        Gaussian process that learnt the scores, and std is that of the difference as if both ends
        were independent, which is rather too large. What neither knows is left out.
    """
    choices = {c.name: c for c in space.choices}
    others = [
        (name, option, space.complete(dict(best) | {name: option}, None))
        for name in best
        for option in choices[name].options
        if option != best[name]
    ]
    means, stds = _predicted(space, scored, [best, *(a for _, _, a in others)], seed)
    found: dict[str, list[dict[str, Any]]] = {}
    for i, (name, option, other) in enumerate(others, 1):
        row: dict[str, Any] = {"option": option}
        if other in scored:
            row |= {"loss": scored[best] - scored[other], "std": None, "source": "measured"}
        elif means is not None and stds is not None:
            std = math.hypot(stds[0], stds[i])
            row |= {"loss": float(means[0] - means[i]), "std": std, "source": "predicted"}
        else:
            continue
        found.setdefault(name, []).append(row)
    return [{"choice": n, "option": best[n], "others": rows} for n, rows in found.items()]


def _predicted(
    space: SearchSpace, scored: Scored, architectures: Sequence[Architecture], seed: int
) -> tuple[Any, Any]:
    if len(scored) < LEAST or len(set(scored.values())) == 1:
        return None, None
    model = predictors.get(PREDICTOR, seed=derive(seed, "left out") % 2**32)
    model.fit(features(space, list(scored)), list(scored.values()))
    mean, std = model.predict(features(space, architectures))
    return mean, std


def runner_up(
    context: Context,
    alike: Mapping[Architecture, tuple[float, Record]],
    best: Architecture,
    worth_named: str = "",
) -> dict[str, Any] | None:
    """The second best that keeps the limits, and why it is not the winner.

    Args:
        context: Of the run.
        alike: Architecture -> (worth, record).
        best: The winner.
        worth_named: What worths are, in words; "" where the goal's score.

    Returns:
        {"step", "architecture", "metrics", "differs_in", "behind_by", "standard_error",
        "over_limit", "why"}: the choices in which it differs; by how much it is worth less; the
        standard error of such a difference by the size of the validation split alone (of an
        accuracy, as if the two were scored on different samples, else None); how many scored
        higher than the winner and break a limit; and a sentence. None where no other keeps the
        limits.
    """
    worth = alike[best][0]
    fit = {a: p for a, p in alike.items() if a != best and context.allows(p[1].metrics)}
    over = sum(p[0] > worth and not context.allows(p[1].metrics) for p in alike.values())
    if not fit:
        return None
    second = max(fit, key=lambda a: (fit[a][0], fit[a][1].step))
    behind, record = worth - fit[second][0], fit[second][1]
    n = int(record.detail.get("scored", len(context.task.val)))
    error = None if worth_named else _standard_error(context, n, record, alike[best][1])
    named = worth_named or _metric(context, record) or "rank"
    names = dict.fromkeys([*best, *second])
    return {
        "step": record.step,
        "architecture": dict(second),
        "metrics": dict(record.metrics),
        "differs_in": [n for n in names if best.get(n) != second.get(n)],
        "behind_by": behind,
        "standard_error": error,
        "over_limit": over,
        "why": _why(named, n, behind, error, over),
    }


def _standard_error(context: Context, n: int, *records: Record) -> float | None:
    if context.goal.metric != "accuracy":
        return None
    shares = [r.metrics.get("accuracy") for r in records]
    if any(share is None for share in shares):
        return None
    return math.sqrt(sum(s * (1 - s) / n for s in shares if s is not None))


def _why(metric: str, n: int, behind: float, error: float | None, over: int) -> str:
    if behind <= 0:
        text = f"It scored as well by {metric}; the lower loss, then the later trial, decided"
    elif error is None:
        text = f"It scored worse by {behind:.4g} ({metric}); how much of that is chance is unknown"
    else:
        weight = (
            "less than one standard error, so other validation samples could have chosen it"
            if behind < error
            else "more than one standard error, which is weak evidence"
            if behind < 2 * error
            else "more than two standard errors"
        )
        text = f"It scored worse by {behind:.4g} ({metric}); of {n} samples that is {weight}"
    beyond = f"; {over} that scored higher than the winner break a limit" if over else ""
    return f"{text}{beyond}."
