"""The named strategies: each a row of parts, with the paper it comes from."""

from .base import Strategy
from .blackbox import RandomSearch
from .gradient import Gradient, GradientSettings


def darts() -> Strategy:
    """DARTS, first order (Liu, Simonyan & Yang 2019, arXiv 1806.09055)."""
    return Gradient("darts", GradientSettings())


def darts_second() -> Strategy:
    """DARTS, second order (the same paper)."""
    return Gradient("darts-2nd", GradientSettings(second_order=True))


def random() -> Strategy:
    """Random search: uniform draws, each trained for a few epochs (Li & Talwalkar 2019)."""
    return RandomSearch("random")
