"""Every named strategy keeps the contract of strategies."""

from typing import ClassVar

from nas_domains.core.registry import strategies
from nas_domains.core.space import SearchSpace
from nas_domains.strategies import presets
from nas_domains.strategies.base import Strategy
from nas_domains.testing.strategies import StrategyContract
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import Widths


class TestDarts(StrategyContract):
    def make_strategy(self) -> Strategy:
        return presets.darts()

    def make_space(self) -> SearchSpace:
        return nasbench201(cells=1, channels=4)


class TestDartsSecondOrder(StrategyContract):
    budget: ClassVar[str] = "steps=3"

    def make_strategy(self) -> Strategy:
        return presets.darts_second()

    def make_space(self) -> SearchSpace:
        return darts(cells=2, channels=2)


class OneShotContract(StrategyContract):
    budget: ClassVar[str] = "epochs=2,trials=5"

    def make_space(self) -> SearchSpace:
        return nasbench201(cells=1, channels=2)


class TestSpos(OneShotContract):
    def make_strategy(self) -> Strategy:
        return presets.spos()

    def make_space(self) -> SearchSpace:
        return darts(cells=2, channels=2)


class TestFairNas(OneShotContract):
    def make_strategy(self) -> Strategy:
        return presets.fairnas()


class TestOfa(OneShotContract):
    def make_strategy(self) -> Strategy:
        return presets.ofa()


class TestEnas(OneShotContract):
    def make_strategy(self) -> Strategy:
        return presets.enas()


class TestRandom(StrategyContract):
    budget: ClassVar[str] = "trials=3,epochs=2"

    def make_strategy(self) -> Strategy:
        return presets.random()

    def make_space(self) -> SearchSpace:
        return Widths()


def test_each_registered_strategy_is_tested_here() -> None:
    classes = (
        TestDarts,
        TestDartsSecondOrder,
        TestEnas,
        TestFairNas,
        TestOfa,
        TestRandom,
        TestSpos,
    )
    tested = {cls().make_strategy().name for cls in classes}
    assert {entry.name for entry in strategies} == tested
    for entry in strategies:
        assert strategies.get(entry.name).name == entry.name
