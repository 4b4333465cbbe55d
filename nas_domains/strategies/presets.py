"""The named strategies: each a row of parts, with the paper it comes from."""

from functools import partial

from ..nn.relaxation import Dirichlet, Gates, Gumbel, Softmax
from .base import Strategy
from .blackbox import RandomSearch
from .gradient import Gradient
from .parts.regularisers import BetaDecay, PriorDistance
from .parts.stop import EigenvalueStop, SkipStop
from .settings import GradientSettings as Settings


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


def random() -> Strategy:
    """Random search: uniform draws, each trained for a few epochs (Li & Talwalkar 2019)."""
    return RandomSearch("random")
