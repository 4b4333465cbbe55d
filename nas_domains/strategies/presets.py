"""The named strategies: each a row of parts, with the paper it comes from."""

from .base import Strategy
from .blackbox import RandomSearch
from .enas import ControllerSettings, Enas
from .gradient import Gradient, GradientSettings
from .oneshot import OneShot, OneShotSettings
from .path_evolution import Evolution


def darts() -> Strategy:
    """DARTS, first order (Liu, Simonyan & Yang 2019, arXiv 1806.09055)."""
    return Gradient("darts", GradientSettings())


def darts_second() -> Strategy:
    """DARTS, second order (the same paper)."""
    return Gradient("darts-2nd", GradientSettings(second_order=True))


def random() -> Strategy:
    """Random search: uniform draws, each trained for a few epochs (Li & Talwalkar 2019)."""
    return RandomSearch("random")


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
