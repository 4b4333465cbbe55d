"""Optuna's own samplers keep the contract of ours."""

from nas_domains.strategies.samplers import optuna_own
from nas_domains.testing.samplers import SamplerContract


class TestTpe(SamplerContract):
    goals = 2
    seeds = 3

    make_sampler = staticmethod(optuna_own.tpe)


class TestNsga2(SamplerContract):
    goals = 2
    trials = 100

    make_sampler = staticmethod(optuna_own.nsga2)


class TestNsga3(SamplerContract):
    goals = 2
    trials = 100

    make_sampler = staticmethod(optuna_own.nsga3)
