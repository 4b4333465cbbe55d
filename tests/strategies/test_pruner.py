"""Hyperband's brackets, rungs and costs; forecasts that end trials; bad options."""

from collections import Counter

import numpy as np
import optuna
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.strategies.pruner import CurveStop, Hyperband
from tests.make import one_sentence


def test_brackets_begin_at_different_rungs() -> None:
    pruner = Hyperband(27)
    assert [pruner.rungs(b) for b in range(pruner.brackets)] == [[1, 3, 9], [3, 9], [9], []]
    assert Hyperband(1).brackets == 1 and Hyperband(1).rungs(0) == []
    assert Hyperband(10, factor=2).rungs(0) == [1, 2, 4, 8]


def test_what_a_trial_costs() -> None:
    pruner = Hyperband(27)
    # All train 1 epoch, a third 2 more, a ninth 6 more, one in 27 the last 18.
    assert pruner.cost(0) == pytest.approx(1 + 2 / 3 + 6 / 9 + 18 / 27)
    assert pruner.cost(3) == 27
    shares = pruner.shares()
    assert sum(shares) == pytest.approx(1)
    spent = [s * pruner.cost(b) for b, s in enumerate(shares)]
    np.testing.assert_allclose(spent, spent[0])
    assert pruner.mean_cost() == pytest.approx(sum(spent))


def test_brackets_depend_on_the_seed_and_the_number_alone() -> None:
    counts = Counter(Hyperband(27, seed=4).bracket(n) for n in range(1000))
    for bracket, share in enumerate(Hyperband(27).shares()):
        # Five standard deviations of a binomial count.
        spread = (1000 * share * (1 - share)) ** 0.5
        assert abs(counts[bracket] - 1000 * share) < 5 * spread
    one, other = ([Hyperband(27, seed=s).bracket(n) for n in range(50)] for s in (1, 2))
    assert one != other


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"most": 0}, "most=0"),
        ({"most": 3, "least": 4}, "least=4"),
        ({"most": 3, "factor": 1}, "factor=1"),
    ],
)
def test_bad_options_are_named(options: dict[str, int], named: str) -> None:
    with pytest.raises(UsageError) as error:
        Hyperband(**options)
    one_sentence(str(error.value), named)


def stopped_at(curve: np.ndarray, best: float, direction: str = "maximize") -> int:
    """The epoch at which a trial ends, after three whole trials of which one came to the best."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sign = 1 if direction == "maximize" else -1
    study = optuna.create_study(direction=direction, pruner=CurveStop(len(curve)))
    for value in (best, best - 0.2, best - 0.3):
        study.tell(study.ask(), sign * value)
    trial = study.ask()
    for epoch, value in enumerate(curve, 1):
        trial.report(float(sign * value), epoch)
        if trial.should_prune():
            return epoch
    return len(curve)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_curve_that_has_flattened_below_the_best_ends_early(direction: str) -> None:
    t = np.arange(1.0, 31)
    noise = 0.003 * np.random.default_rng(0).standard_normal(30)
    flat = 0.6 - 0.3 * np.exp(-t / 2) + noise
    rising = 0.95 - 0.6 * t**-0.5 + noise
    assert 4 <= stopped_at(flat, 0.8, direction) <= 15
    assert stopped_at(rising, 0.8, direction) == 30
    assert stopped_at(flat, 0.5, direction) == 30


def test_nothing_ends_before_enough_trials_are_whole_or_where_a_score_is_missing() -> None:
    study = optuna.create_study(direction="maximize", pruner=CurveStop(30))
    study.tell(study.ask(), 0.99)
    trial = study.ask()
    for epoch in range(1, 20):
        trial.report(0.1, epoch)
        assert not trial.should_prune()
    for _ in range(2):
        study.tell(study.ask(), 0.9)
    assert trial.should_prune()
    trial.report(float("nan"), 20)
    assert not trial.should_prune()


@pytest.mark.parametrize("options", [{"most": 0}, {"most": 3, "doubt": 0.0}])
def test_bad_options_of_forecasts_are_named(options: dict[str, float]) -> None:
    with pytest.raises(UsageError) as error:
        CurveStop(**options)  # type: ignore[arg-type]
    name, value = list(options.items())[-1]
    one_sentence(str(error.value), f"{name}={value}")
