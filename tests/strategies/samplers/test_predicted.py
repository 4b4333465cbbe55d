"""A predictor's search: the contract, what proxies add, what it learns from stopped trials."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
import pytest

from nas_domains.core.architecture import Architecture
from nas_domains.core.errors import UsageError
from nas_domains.core.limit import Limit
from nas_domains.core.space import SearchSpace
from nas_domains.evaluation.proxies.features import ProxyFeatures
from nas_domains.strategies import presets
from nas_domains.strategies.samplers.base import suggest
from nas_domains.strategies.samplers.predicted import Predicted
from nas_domains.testing.driven import driven
from nas_domains.testing.samplers import SamplerContract, additive, flat_space
from tests.make import Widths, make_context, one_sentence


class TestPredicted(SamplerContract):
    def make_sampler(
        self, space: SearchSpace, *, seed: int = 0, limit: Limit | None = None
    ) -> optuna.samplers.BaseSampler:
        # The predictor that fits in milliseconds.
        return Predicted(space, seed=seed, limit=limit, predictor="ridge")


def test_a_proxy_that_tells_what_choices_do_not_is_made_use_of() -> None:
    space = flat_space(6, 4)
    rng = np.random.default_rng(0)
    noise = {a: float(v) for a, v in zip(space, rng.permutation(4**6), strict=True)}

    def proxy(architecture: Architecture) -> Mapping[str, float | None]:
        return {"proxy": noise[architecture] ** 3}

    best = {}
    for name, scores in (("with", proxy), ("without", None)):
        found = driven(
            Predicted(space, seed=1, predictor="forest", scores=scores),
            25,
            lambda a: (noise[a],),
        )
        assert len({o.architecture for o in found}) == 25
        best[name] = np.mean([o.values[0] for o in found[6:]])
    # Without it no architecture is better than another in the mean, 2047.5.
    assert best["with"] > best["without"] + 1000


def test_stopped_trials_are_learnt_from_by_their_best_epoch() -> None:
    space = flat_space(3, 3)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = Predicted(space, predictor="ridge")
    study = optuna.create_study(direction="minimize", sampler=sampler)
    for scores in ([3.0], [5.0, 4.0, 6.0], []):
        trial = study.ask()
        suggest(space, trial)
        for epoch, score in enumerate(scores, 1):
            trial.report(score, epoch)
        if len(scores) == 1:
            study.tell(trial, 3.0)
        else:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    assert [o.values for o in sampler.history(study, 9)] == [(-3.0,), (-4.0,)]


def test_proxies_of_an_architecture_do_not_depend_on_when_they_are_asked(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    first, second = context.space.sample(2)
    once, again = ProxyFeatures(context), ProxyFeatures(context)
    assert again(second) == once(second) and again(first) == once(first)
    assert set(once(first)) == {"jacov", "naswot", "synflow", "params", "macs"}


def test_curves_end_trainings_of_a_run(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    presets.predictor().search(context, {"trials": 7, "epochs": 8})
    records = context.history.of("search")
    assert len(records) == 7 and len({repr(r.architecture) for r in records}) == 7
    for record in records:
        stopped = bool(record.detail.get("stopped"))
        assert (record.fidelity["epochs"] < 8) == stopped


@pytest.mark.parametrize("options", [{"starts": 1}, {"pool": 1}])
def test_bad_options_are_named(options: dict[str, int]) -> None:
    with pytest.raises(UsageError) as error:
        Predicted(flat_space(), **options)
    ((name, value),) = options.items()
    one_sentence(str(error.value), f"{name}={value}")


def test_the_scores_size_does_not_matter() -> None:
    space = flat_space(5, 3)
    plain = driven(Predicted(space, predictor="ridge"), 15, lambda a: (additive(a),))
    cubed = driven(Predicted(space, predictor="ridge"), 15, lambda a: (additive(a) ** 3,))
    assert [o.architecture for o in plain] == [o.architecture for o in cubed]
