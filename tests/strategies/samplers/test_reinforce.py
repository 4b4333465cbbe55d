"""REINFORCE: the contract, and that the policy moves as its formula says."""

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.strategies.samplers.base import Observation
from nas_domains.strategies.samplers.reinforce import Reinforce
from nas_domains.testing.samplers import SamplerContract, conditional_space, flat_space
from tests.make import one_sentence


class TestReinforce(SamplerContract):
    make_sampler = staticmethod(Reinforce)


def test_the_gradient_is_that_of_the_formula() -> None:
    import torch

    space = conditional_space()
    sampler = Reinforce(space, entropy=0.3)
    logits = torch.randn(12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logits.requires_grad_()
    sizes = [len(c.options) for c in space.choices]
    for architecture in space.sample(8, seed=2):
        value, start = torch.zeros((), dtype=torch.float64), 0
        probabilities = []
        for choice, size in zip(space.choices, sizes, strict=True):
            logs = logits[start : start + size].log_softmax(0)
            start += size
            probabilities.append(logs.detach().exp())
            if choice.name in architecture:
                value = value + 1.7 * logs[choice.options.index(architecture[choice.name])]
                value = value - 0.3 * (logs.exp() * logs).sum()
        (expected,) = torch.autograd.grad(value, logits)
        drawn = space.encode(architecture).astype(np.float64)
        found = sampler._gradient(torch.cat(probabilities).numpy(), drawn, 1.7)
        np.testing.assert_allclose(found, expected.numpy(), atol=1e-12)


def test_the_unit_of_the_reward_does_not_matter() -> None:
    space = flat_space()
    found = space.sample(30, seed=1)

    def policy(scale: float, shift: float) -> np.ndarray:
        history = [
            Observation(i, a, (scale * float(a["c0"]) + shift,)) for i, a in enumerate(found)
        ]
        return Reinforce(space).policy(history)

    np.testing.assert_allclose(policy(1.0, 0.0), policy(1e-3, 70.0), rtol=1e-6)
    assert policy(1.0, 0.0)[3] > 0.3 > policy(1.0, 0.0)[0]


def test_a_score_that_is_not_finite_teaches_nothing() -> None:
    space = flat_space()
    history = [Observation(i, a, (-np.inf,)) for i, a in enumerate(space.sample(5))]
    np.testing.assert_allclose(Reinforce(space).policy(history), 0.25)


@pytest.mark.parametrize(
    ("name", "value"), [("rate", 0), ("rate", float("nan")), ("decay", 1.0), ("entropy", -0.1)]
)
def test_bad_options_are_named(name: str, value: float) -> None:
    with pytest.raises(UsageError) as error:
        Reinforce(flat_space(), **{name: value})
    one_sentence(str(error.value), f"{name}={value}")
