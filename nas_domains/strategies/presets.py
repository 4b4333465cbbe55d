"""The named strategies: each a row of parts, with the paper it comes from."""

from functools import partial

from ..nn.relaxation import Dirichlet, Gates, Gumbel, Softmax
from .base import Strategy
from .blackbox import BlackBox
from .calibrate import Calibrate
from .dints import Dints
from .enas import ControllerSettings, Enas
from .gradient import Gradient
from .oneshot import OneShot, OneShotSettings
from .parts.dints import TopologyLosses
from .parts.regularisers import BetaDecay, PriorDistance
from .parts.stop import EigenvalueStop, SkipStop
from .path_evolution import Evolution
from .predictor import Predictor
from .pruner import CurveStop, Hyperband
from .samplers import optuna_own
from .samplers.bayes import Bayes
from .samplers.evolution import AgingEvolution
from .samplers.local_search import LocalSearch
from .samplers.reinforce import Reinforce
from .samplers.uniform import Uniform
from .settings import GradientSettings as Settings
from .zero_cost import ZeroCost


def darts() -> Strategy:
    """DARTS, first order (Liu, Simonyan & Yang 2019, arXiv 1806.09055)."""
    return Gradient("darts", Settings())


def darts_second() -> Strategy:
    """DARTS, second order (the same paper)."""
    return Gradient("darts-2nd", Settings(second_order=True))


def pc_darts() -> Strategy:
    """PC-DARTS (Xu et al. 2020, arXiv 1907.05737): a quarter of the channels, edge weights."""
    return Gradient(
        "pc-darts", Settings(partial=4, edge_weights=True, warmup=0.3, lr=0.1, alpha_lr=6e-4)
    )


def gdas() -> Strategy:
    """GDAS (Dong & Yang 2019, arXiv 1910.04465): one candidate an edge, by hard Gumbel."""
    return Gradient("gdas", Settings(relaxation=Gumbel))


def drnas() -> Strategy:
    """DrNAS (Chen et al. 2021, arXiv 2006.10355): Dirichlet weights near their prior.

    With all channels, as the authors run it on NAS-Bench-201.
    """
    return Gradient("drnas", Settings(relaxation=Dirichlet, regularisers=(PriorDistance(),)))


def drnas_progressive() -> Strategy:
    """DrNAS with progressive learning (the same paper, section 3.3), as in the DARTS space.

    A quarter of the channels runs through all candidates, then half of them through half of the
    candidates.
    """
    return Gradient(
        "drnas-progressive",
        Settings(
            relaxation=Dirichlet,
            regularisers=(PriorDistance(),),
            partial=4,
            grow=((0.5, 2),),
            shrink=((0.5, 4),),
        ),
    )


def beta_darts() -> Strategy:
    """beta-DARTS (Ye et al. 2022, arXiv 2203.01665): decay of the parameters' log sum exp."""
    return Gradient("beta-darts", Settings(regularisers=(BetaDecay(),), alpha_weight_decay=0.0))


def sdarts() -> Strategy:
    """SDARTS-RS (Chen & Hsieh 2020, arXiv 2002.05283): weights learn under random noise."""
    return Gradient("sdarts", Settings(relaxation=partial(Softmax, noise=0.3)))


def darts_pt() -> Strategy:
    """DARTS-PT (Wang et al. 2021, arXiv 2108.04392): the candidate that is missed most stays."""
    return Gradient("darts-pt", Settings(perturbation=True))


def darts_minus() -> Strategy:
    """DARTS- (Chu et al. 2021, arXiv 2009.01027): a second skip connection that fades out."""
    return Gradient("darts-minus", Settings(auxiliary=True))


def darts_plus() -> Strategy:
    """DARTS+ (Liang et al. 2019, arXiv 1909.06035): ends at two skip connections in a cell."""
    return Gradient("darts-plus", Settings(stop=SkipStop()))


def r_darts() -> Strategy:
    """R-DARTS' early stop (Zela et al. 2020, arXiv 1909.09656): by the dominant eigenvalue."""
    return Gradient("r-darts", Settings(stop=EigenvalueStop()))


def proxyless() -> Strategy:
    """ProxylessNAS (Cai et al. 2019, arXiv 1812.00332): binary gates, two paths."""
    return Gradient(
        "proxyless",
        Settings(
            relaxation=Gates, alpha_lr=6e-3, alpha_betas=(0.0, 0.999), alpha_weight_decay=0.0
        ),
    )


def robust() -> Strategy:
    """What did best of the combinations in benchmarks/robust_default, on validation accuracy.

    Softmax weights held together by beta-decay (Ye et al. 2022), a second skip connection that
    fades out (Chu et al. 2021), and architecture parameters that come as far in a short search as
    in a long one. What that finds, and what lies near, is tried out at full depth; see
    :class:`nas_domains.strategies.tryout.TryOut`.
    """
    return Gradient(
        "robust",
        Settings(
            regularisers=(BetaDecay(5.0),),
            auxiliary=True,
            alpha_travel=3.0,
            alpha_weight_decay=0.0,
            tryout=True,
        ),
    )


def dints() -> Strategy:
    """DiNTS (He et al. 2021, arXiv 2103.15954), after MONAI's search script.

    Half of the search trains weights alone, as there; the learning rate of the weights is that of
    the other gradient strategies, and architecture parameters come as far in a short search as in
    a long one.
    """
    return Dints(
        "dints",
        Settings(
            regularisers=(TopologyLosses(),),
            warmup=0.5,
            weight_decay=4e-5,
            alpha_travel=6.0,
            alpha_weight_decay=0.0,
        ),
    )


def random() -> Strategy:
    """Random search: uniform draws, each trained for a few epochs (Li & Talwalkar 2019)."""
    return BlackBox("random", Uniform, foresees=False, learns=False)


def evolution() -> Strategy:
    """Aging evolution (Real et al. 2019, arXiv 1802.01548), with a small population."""
    return BlackBox("evolution", AgingEvolution, goals=1)


def reinforce() -> Strategy:
    """REINFORCE (Zoph & Le 2017, arXiv 1611.01578), with a policy of independent choices."""
    return BlackBox("reinforce", Reinforce, goals=1)


def bayes() -> Strategy:
    """Bayesian optimisation, after BANANAS (White et al. 2021, arXiv 1910.11858)."""
    return BlackBox("bayes", Bayes)


def local_search() -> Strategy:
    """Local search (White, Nolen & Savani 2020, arXiv 2005.02960)."""
    return BlackBox("local-search", LocalSearch)


def predictor() -> Strategy:
    """A random forest that learns from trained networks and proxies says what is trained next.

    Proxies as features of a predictor (White et al. 2021, arXiv 2104.01177). A training whose
    learning curve is not expected to reach the best ends early (Domhan et al. 2015).
    """
    return Predictor("predictor", "forest", pruner=CurveStop)


def zero_cost() -> Strategy:
    """Local search over the joint rank of proxies (Mellor et al. 2021, arXiv 2006.04647; others).

    Without training. Ranks are joined as proxies fail in different places (Abdelfattah et al.
    2021, arXiv 2101.08134, who let them vote).
    """
    return ZeroCost("zero-cost", LocalSearch)


def tpe() -> Strategy:
    """Optuna's TPE (Bergstra et al. 2011); MOTPE (Ozaki et al. 2022) for several goals."""
    return BlackBox("tpe", optuna_own.tpe)


def nsga2() -> Strategy:
    """Optuna's NSGA-II (Deb et al. 2002)."""
    return BlackBox("nsga2", optuna_own.nsga2)


def nsga3() -> Strategy:
    """Optuna's NSGA-III (Deb & Jain 2014), for three goals and more."""
    return BlackBox("nsga3", optuna_own.nsga3)


def hyperband() -> Strategy:
    """Hyperband (Li et al. 2018, arXiv 1603.06560), asynchronous (Li et al. 2020)."""
    return BlackBox("hyperband", Uniform, goals=1, pruner=Hyperband, learns=False)


def bohb() -> Strategy:
    """Hyperband whose trials TPE proposes (Falkner, Klein & Hutter 2018, arXiv 1807.01774)."""
    return BlackBox("bohb", optuna_own.tpe, goals=1, pruner=Hyperband)


def spos() -> Strategy:
    """Single path one-shot: uniform paths, then evolution (Guo et al. 2020, arXiv 1904.00420)."""
    return OneShot("spos", OneShotSettings("uniform", lr=0.5, lr_batch=1024, schedule="linear"))


def fairnas() -> Strategy:
    """FairNAS: strictly fair paths, then evolution (Chu et al. 2021, arXiv 1907.01845).

    The evolution is that of ``spos``; several goals are weighed by fronts, as in the paper.
    """
    return OneShot("fairnas", OneShotSettings("fair", lr=0.045, lr_batch=256, epochs=150))


def ofa() -> Strategy:
    """Once-for-all: the sandwich rule with in-place distillation, then evolution.

    Once-for-all (Cai et al. 2020, arXiv 1908.09791), whose stages of shrinking are replaced by the
    one stage of BigNAS (Yu et al. 2020, arXiv 2003.11142). The evolution has the numbers of the
    first, and scores paths in the shared weights where that asks a predictor. With several goals
    it selects by fronts and crowding as NSGA-II does (Deb et al. 2002), else by the goal.
    """
    settings = OneShotSettings(
        "sandwich", lr=2.6, lr_batch=2048, nesterov=True, weight_decay=3e-5, epochs=180
    )
    return OneShot("ofa", settings, Evolution(population=100, parents=25))


def calibrate() -> Strategy:
    """Scores paths of weights that are trained already, and evolves them as ``ofa`` does."""
    settings = OneShotSettings("uniform", lr=1.0, lr_batch=1, trials=500)
    return Calibrate("calibrate", settings, Evolution(population=50, parents=12))


def enas() -> Strategy:
    """ENAS: a controller and the weights it shares, in turn (Pham et al. 2018, arXiv 1802.03268).

    Numbers of the authors' search of CIFAR-10 cells, save one cycle of the cosine for its warm
    restarts.
    """
    settings = OneShotSettings(
        "controller",
        lr=0.05,
        lr_batch=160,
        lr_end=0.0005,
        nesterov=True,
        weight_decay=1e-4,
        epochs=150,
        trials=100,
    )
    return Enas("enas", settings, ControllerSettings())
