"""Every named strategy keeps the contract of strategies."""

from typing import ClassVar

from nas_domains.core.registry import strategies
from nas_domains.core.space import SearchSpace
from nas_domains.strategies import presets
from nas_domains.testing.strategies import StrategyContract
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import Widths


class Cells(StrategyContract):
    """A gradient strategy, on the cells of NAS-Bench-201."""

    def make_space(self) -> SearchSpace:
        return nasbench201(cells=1, channels=4)


class DartsCells(StrategyContract):
    """A gradient strategy, on the cells of DARTS."""

    budget: ClassVar[str] = "steps=3"

    def make_space(self) -> SearchSpace:
        return darts(cells=2, channels=4)


class TestDarts(Cells):
    make_strategy = staticmethod(presets.darts)


class TestDartsSecondOrder(DartsCells):
    make_strategy = staticmethod(presets.darts_second)


class TestPCDarts(DartsCells):
    make_strategy = staticmethod(presets.pc_darts)


class TestGDAS(Cells):
    make_strategy = staticmethod(presets.gdas)


class TestDrNAS(Cells):
    make_strategy = staticmethod(presets.drnas)


class TestDrNASProgressive(DartsCells):
    make_strategy = staticmethod(presets.drnas_progressive)


class TestBetaDarts(Cells):
    make_strategy = staticmethod(presets.beta_darts)


class TestSDarts(Cells):
    make_strategy = staticmethod(presets.sdarts)


class TestDartsPT(Cells):
    make_strategy = staticmethod(presets.darts_pt)


class TestDartsMinus(Cells):
    make_strategy = staticmethod(presets.darts_minus)


class TestDartsPlus(Cells):
    make_strategy = staticmethod(presets.darts_plus)


class TestRDarts(Cells):
    make_strategy = staticmethod(presets.r_darts)


class TestProxyless(Cells):
    make_strategy = staticmethod(presets.proxyless)


class TestRobust(Cells):
    budget: ClassVar[str] = "epochs=2,trials=4"

    make_strategy = staticmethod(presets.robust)


class OneShotContract(StrategyContract):
    """A one-shot strategy."""

    budget: ClassVar[str] = "epochs=2,trials=5"

    def make_space(self) -> SearchSpace:
        return nasbench201(cells=1, channels=2)


class TestSpos(OneShotContract):
    make_strategy = staticmethod(presets.spos)

    def make_space(self) -> SearchSpace:
        return darts(cells=2, channels=2)


class TestFairNas(OneShotContract):
    make_strategy = staticmethod(presets.fairnas)


class TestOfa(OneShotContract):
    make_strategy = staticmethod(presets.ofa)


class TestEnas(OneShotContract):
    make_strategy = staticmethod(presets.enas)


class BlackBoxContract(StrategyContract):
    """A black-box strategy, on a person's own space."""

    budget: ClassVar[str] = "trials=3,epochs=2"

    def make_space(self) -> SearchSpace:
        return Widths()


class TestRandom(BlackBoxContract):
    make_strategy = staticmethod(presets.random)


class TestEvolution(BlackBoxContract):
    make_strategy = staticmethod(presets.evolution)


class TestReinforce(BlackBoxContract):
    make_strategy = staticmethod(presets.reinforce)


class TestBayes(BlackBoxContract):
    make_strategy = staticmethod(presets.bayes)


class TestLocalSearch(BlackBoxContract):
    make_strategy = staticmethod(presets.local_search)


class TestTpe(BlackBoxContract):
    make_strategy = staticmethod(presets.tpe)


class TestNsga2(BlackBoxContract):
    make_strategy = staticmethod(presets.nsga2)


class TestNsga3(BlackBoxContract):
    make_strategy = staticmethod(presets.nsga3)


class TestHyperband(BlackBoxContract):
    make_strategy = staticmethod(presets.hyperband)


class TestBohb(BlackBoxContract):
    make_strategy = staticmethod(presets.bohb)


class TestPredictor(BlackBoxContract):
    make_strategy = staticmethod(presets.predictor)


class TestZeroCost(BlackBoxContract):
    budget: ClassVar[str] = "trials=6"
    trains: ClassVar[bool] = False

    make_strategy = staticmethod(presets.zero_cost)


def test_each_registered_strategy_is_tested_here() -> None:
    own = [c for name, c in globals().items() if name.startswith("Test")]
    # These two are of one space each, and are tested with it: tests/text and tests/medical.
    elsewhere = {"calibrate", "dints"}
    here = {c().make_strategy().name for c in own}
    assert {entry.name for entry in strategies} == here | elsewhere
    for entry in strategies:
        assert strategies.get(entry.name).name == entry.name
