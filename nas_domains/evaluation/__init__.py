"""Evaluation: the training loop, full training, scoring; proxies and predictors by name."""

from . import predictors, proxies

__all__ = ["predictors", "proxies"]
