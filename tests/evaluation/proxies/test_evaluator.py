"""Scores of architectures on one batch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nas_domains.core import registry
from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.evaluation.proxies.evaluator import ProxyEvaluator
from tests.make import Widths, make_context, one_sentence

FIDELITY = Fidelity(0)


def test_all_proxies_score_an_architecture_and_its_costs_stand_beside(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    found = ProxyEvaluator(context)(context.space.sample(1)[0], FIDELITY, trial=0)
    names = [entry.name for entry in registry.proxies]
    assert len(names) >= 11 and set(found) == {*names, "params", "macs"}
    assert all(value is not None for value in found.values())
    assert found["flops"] == 2 * (found["macs"] or 0)


def test_scores_depend_on_the_seed_and_the_trial_alone(tmp_path: Path) -> None:
    context = make_context(tmp_path, seed=3)
    names = ("naswot", "zen", "snip")
    first, second = context.space.sample(2)
    evaluator = ProxyEvaluator(context, names)
    alone = evaluator(first, FIDELITY, trial=4)
    evaluator(second, FIDELITY, trial=0)
    torch.rand(3)
    assert evaluator(first, FIDELITY, trial=4) == alone
    assert ProxyEvaluator(context, names)(first, FIDELITY, trial=4) == alone
    other = evaluator(first, FIDELITY, trial=5)
    assert all(other[name] != alone[name] for name in names)
    seed = ProxyEvaluator(make_context(tmp_path, seed=4), names)(first, FIDELITY, trial=4)
    assert all(seed[name] != alone[name] for name in names)


def test_the_batch_is_a_random_part_of_the_training_split(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    x, y = ProxyEvaluator(context, ["params"], samples=10).batch
    known = {tuple(image.flatten().tolist()) for image, _ in context.task.train}
    assert x.shape == (10, 1, 8, 8) and len({tuple(v.flatten().tolist()) for v in x}) == 10
    assert all(tuple(image.flatten().tolist()) in known for image in x)
    assert y.tolist() != [i % 3 for i in range(10)]
    assert len(ProxyEvaluator(context, ["params"], samples=999).batch[0]) == len(
        context.task.train
    )


def test_what_has_no_finite_score_has_none(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    empty = context.space.architecture(
        {name: "none" for name in ("0->1", "0->2", "1->2")}
        | {name: "none" for name in ("0->3", "1->3", "2->3")}
    )
    found = ProxyEvaluator(context, ["synflow", "params"])(empty, FIDELITY, trial=0)
    assert found["synflow"] is None and found["params"] == found["params"]


def test_a_persons_own_space_is_scored(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    names = [entry.name for entry in registry.proxies if entry.name != "zen"]
    for architecture in context.space.sample(3):
        found = ProxyEvaluator(context, names)(architecture, FIDELITY, trial=0)
        # So few units that inputs share a code: naswot may have no score.
        assert all(value is not None for name, value in found.items() if name != "naswot")
    with pytest.raises(UsageError, match="'zen'"):
        ProxyEvaluator(context, ["zen"])(context.space.sample(1)[0], FIDELITY, trial=0)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"names": ["synflw"]}, "did you mean 'synflow'"),
    ({"names": []}, "none"),
    ({"names": ["zen", "zen"]}, "zen, zen"),
    ({"samples": 1}, "samples=1"),
]


@pytest.mark.parametrize("options, named", BAD)
def test_bad_options_are_named(tmp_path: Path, options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as error:
        ProxyEvaluator(make_context(tmp_path), **options)
    one_sentence(str(error.value), named)
