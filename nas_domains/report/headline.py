"""The first lines of a report: what came out, in plain words."""

from typing import Any

from . import words
from .content import WINNER, Content
from .words import known, name_of, several, with_unit


def headline(content: Content) -> dict[str, Any]:
    """The headline: "title", "lead", and "points" of (tone, sentence).

    The tone is "good", "even" or "bad" for the winner, or "open" where nothing was compared.
    """
    return _finished(content) if content.finished else _unfinished(content)


def _asked(content: Content) -> tuple[str, str, str]:
    config = content.config
    data = str(config.get("task_name") or config.get("task") or "a task made in Python")
    return str(config.get("strategy")), str(config["space"]), data


def _finished(content: Content) -> dict[str, Any]:
    strategy, space, data = _asked(content)
    goal, result = content.goal, content.result
    metrics = result["best"]["metrics"]
    seeds = content.config.get("train_seeds", 1)
    over = f", the mean of {several(seeds, 'training')}" if seeds > 1 else ", from one training"
    points = []
    if result.get("random_baseline"):
        points.append(words.verdict(goal, result["random_baseline"]))
    if result.get("shared_weights_rank"):
        points.append(words.ranked(result["shared_weights_rank"]))
    if result.get("baselines"):
        points += words.hand_made(goal, metrics, result["baselines"])
    if not points:
        points = [
            (
                "open",
                "The comparison with random and hand-made networks was not run (validate was "
                "off), so whether the search helped is not known.",
            )
        ]
    return {
        "title": f"Test {name_of(goal.metric)} {with_unit(goal.metric, metrics.get(goal.metric))} "
        f"on {data}",
        "lead": f"The strategy {strategy} searched the space {space} on {data}. This is the "
        f"winner's score on the test split, scored once after a full training{over}.",
        "points": points,
    }


def _unfinished(content: Content) -> dict[str, Any]:
    strategy, space, data = _asked(content)
    goal = content.goal
    if content.search:
        searched = f"The search has {several(len(content.search), 'record')}"
        best = content.best
        if best is not None and known(best.metrics.get(goal.metric)):
            score = with_unit(goal.metric, best.metrics[goal.metric])
            searched += f"; the best {name_of(goal.metric)} on validation is {score}"
        searched += "."
    else:
        searched = "The search has no record yet."
    tested = [row for row in content.rows if row.tests]
    winner = next((row for row in tested if row.name == WINNER), None)
    points = [("open", searched)]
    if tested:
        names = words.listed([row.label for row in tested])
        points.append(("open", f"Fully trained with at least one seed: {names}."))
    if winner is not None:
        score = with_unit(goal.metric, winner.metrics.get(goal.metric))
        points.append(
            (
                "open",
                f"So far the winner's test {name_of(goal.metric)} is {score}; the "
                "comparison is made when all rows are trained.",
            )
        )
    else:
        points.append(("open", "No winner is tested yet."))
    return {
        "title": f"This run on {data} is not finished",
        "lead": f"The strategy {strategy} searches the space {space} on {data}. What follows is "
        "what is known so far.",
        "points": points,
    }
