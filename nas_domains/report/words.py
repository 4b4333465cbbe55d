"""Numbers and sentences of the report, in plain words."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

from markupsafe import Markup

from ..core.objective import Objective

Metrics = Mapping[str, Any]
MISSING = "–"
PERCENT = ("accuracy",)
"""Metrics shown in percent; the others of a task are shown as they are, with four decimals."""

COUNTS = {"params": "parameters", "macs": "MACs"}
"""Metrics that are counted: shown in thousands, millions or billions."""
SIZES = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}
UNITS = {
    "accuracy": "%",
    "hd95_mm": "mm",
    "latency_ms": "ms",
    "ort_latency_ms": "ms",
    "energy_mj": "mJ",
    "peak_memory_mb": "MB",
    "seconds": "s",
}
NAMES = {
    "auc": "AUC",
    "f1": "F1",
    "dice": "Dice",
    "hd95_mm": "95 % Hausdorff distance",
    "latency_ms": "latency",
    "energy_mj": "energy",
    "ort_latency_ms": "ONNX Runtime latency",
    "peak_memory_mb": "peak memory",
    "seconds": "training",
    **COUNTS,
}


def name_of(metric: str) -> str:
    """A metric in a sentence."""
    return NAMES.get(metric, metric.replace("_", " "))


def size_of(values: Iterable[Any]) -> str:
    """The size ("", "k", "M", "G") in which the largest of some counts is easy to read."""
    largest = max((abs(v) for v in values if known(v)), default=0.0)
    return next((size for size in "GMk" if largest >= SIZES[size]), "")


def header(metric: str, size: str = "") -> str:
    """A metric with its unit, over a column or beside an axis."""
    unit = size if metric in COUNTS else UNITS.get(metric, "")
    return f"{name_of(metric)}, {unit}" if unit else name_of(metric)


def scale(metric: str) -> float:
    """What a value is multiplied with for an axis."""
    return 100.0 if metric in PERCENT else 1.0


def known(value: object) -> TypeGuard[float]:
    """Whether a value is a number that is not NaN or infinite."""
    return isinstance(value, int | float) and math.isfinite(value)


def number(metric: str, value: Any, size: str = "") -> str:
    """A value in the unit of its header, with sensible digits."""
    if not known(value):
        return MISSING
    if metric in PERCENT:
        return f"{100 * value:.2f}"
    if metric in COUNTS:
        return significant(value / SIZES[size])
    if metric == "seconds":
        return f"{value:.1f}"
    return significant(value) if metric in (*UNITS, "epochs") else f"{value:.4f}"


def significant(value: float) -> str:
    """Three significant digits, without an exponent and with no digits made up."""
    if value == 0:
        return "0"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(decimals, 6)}f}" if value % 1 else f"{value:,.0f}"


def datum(metric: str, value: Any, size: str = "") -> Markup:
    """The shown value, with the exact one in an attribute for programs that read the page."""
    if not known(value):
        return Markup("<span class='missing'>{}</span>").format(MISSING)
    return Markup('<data value="{}">{}</data>').format(repr(value), number(metric, value, size))


def with_unit(metric: str, value: Any) -> str:
    """A value in a sentence."""
    if not known(value):
        return "not known"
    size = size_of([value]) if metric in COUNTS else ""
    unit = size or UNITS.get(metric, "")
    return f"{number(metric, value, size)} {unit}".rstrip()


def duration(seconds: Any) -> str:
    """Seconds as a person says them."""
    if not known(seconds):
        return MISSING
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def several(count: int, word: str) -> str:
    """E.g. "1 seed", "3 seeds"."""
    return f"{count} {word}" if count == 1 else f"{count:,} {word}s"


def verdict(goal: Objective, baseline: Mapping[str, Any]) -> tuple[str, str]:
    """Whether the winner beats the mean random architecture, and how much weight that bears.

    Args:
        goal: The first objective.
        baseline: ``random_baseline`` of the result.

    Returns:
        "good", "even" or "bad", and a sentence or two.
    """
    gain = baseline.get("winner_beats_mean_by") or {}
    difference, error, n = gain.get("difference"), gain.get("standard_error"), baseline["n"]
    unit = "percentage points" if goal.metric in PERCENT else f"in {name_of(goal.metric)}"
    group = f"the mean of {several(n, 'random architecture')}"
    if not known(difference):
        return "even", f"Whether it beats {group} is not known: a score is missing."
    size = number(goal.metric, abs(difference))
    if not known(error):
        side = "above" if difference > 0 else "below" if difference < 0 else "at"
        return "even", (
            f"It stands {side} {group} by {size} {unit} (n = {n}), but the spread is not known, "
            "so nothing can be concluded."
        )
    sign = "+" if difference >= 0 else "\N{MINUS SIGN}"
    shown = (
        f"{sign}{size} ± {number(goal.metric, error)} {unit} "
        f"(difference ± one standard error, n = {n})"
    )
    if difference > error:
        weight = (
            "That is more than two standard errors"
            if difference > 2 * error
            else "That is more than one standard error, which is weak evidence"
        )
        share = baseline.get("relative_gain")
        relative = f" (a relative gain of {share:.1%})" if known(share) else ""
        return "good", f"It beats {group}: {shown}{relative}. {weight}{_caution(n)}."
    if difference < -error:
        return "bad", (
            f"It is worse than {group} by more than the standard error: {shown}. Here, drawing "
            "architectures at random did better than searching."
        )
    return "even", (
        f"It does not beat {group} by more than the standard error: {shown}. This run does not "
        "show that the search helped."
    )


def ranked(rank: Mapping[str, Any]) -> tuple[str, str]:
    """How well scores in shared weights ranked what was fully trained.

    Args:
        rank: ``shared_weights_rank`` of the result.

    Returns:
        "good", "even" or "bad", and a sentence or two.
    """
    tau, top, n = rank["kendall_tau"], rank["top_tau"], rank["n"]
    if not known(tau):
        return "even", "How well the shared weights rank is not known: all scores are equal."
    tone = "good" if tau >= 0.5 else "even" if tau > 0 else "bad"
    text = f"Scores in shared weights rank the {n} trained networks with Kendall's tau {tau:.2f}"
    text += f" ({top:.2f} among the best fifth)" if known(top) else ""
    if tau <= 0:
        return tone, (
            f"{text}: they do not tell good from bad. Train the shared weights for longer, or "
            "use a strategy that trains networks."
        )
    few = " So few say little; --randoms asks for more." if n < 10 else ""
    return tone, f"{text}.{few}"


def _caution(n: int) -> str:
    return f", from only {n} random architectures" if n < 10 else ""


def hand_made(
    goal: Objective, winner: Metrics, baselines: Mapping[str, Metrics]
) -> list[tuple[str, str]]:
    """For each hand-made network whether it is better, equal or worse; "bad", "even" or "good"."""
    sentences = []
    for name, metrics in baselines.items():
        own, other = winner.get(goal.metric), metrics.get(goal.metric)
        if not known(own) or not known(other):
            sentences.append(("even", f"The comparison with {name} (hand-made) lacks a score."))
            continue
        ahead = goal.score(winner) - goal.score(metrics)
        if ahead > 0:
            tone, start, pair = (
                "good",
                f"The winner is better than the hand-made {name}",
                (own, other),
            )
        elif ahead < 0:
            tone, start, pair = (
                "bad",
                f"The hand-made {name} is better than the winner",
                (other, own),
            )
        else:
            tone, start, pair = "even", f"The hand-made {name} scores the same", (other, own)
        sides = (winner, metrics) if ahead > 0 else (metrics, winner)
        values = " against ".join(with_unit(goal.metric, value) for value in pair)
        sentences.append((tone, f"{start}: {values}{_sizes(*sides)}."))
    return sentences


def _sizes(first: Metrics, second: Metrics) -> str:
    a, b = first.get("params"), second.get("params")
    if not known(a) or not known(b):
        return ""
    return f", with {with_unit('params', a)} against {with_unit('params', b)} parameters"


def listed(words: Sequence[str]) -> str:
    """E.g. "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
