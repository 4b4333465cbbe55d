"""Random search: the contract, and that draws are uniform where choices depend on each other."""

from collections import Counter

import numpy as np

from nas_domains.strategies.samplers.uniform import Uniform
from nas_domains.testing.samplers import SamplerContract, conditional_space


class TestUniform(SamplerContract):
    # It is random search.
    margin = -0.5

    make_sampler = staticmethod(Uniform)


def test_draws_are_uniform_over_architectures() -> None:
    space = conditional_space()
    sampler, rng = Uniform(space), np.random.default_rng(0)
    counts = Counter(sampler.propose([], rng) for _ in range(2700))
    assert len(counts) == space.size() == 27
    # Six standard deviations of a binomial count around its mean of 100.
    assert all(abs(n - 100) < 60 for n in counts.values())
