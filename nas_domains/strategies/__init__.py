"""Strategies: named compositions that fill a run, by name."""

from ..core import registry as _registry

for _name, _attribute, _summary in (
    ("darts", "darts", "gradient search, first order (Liu et al. 2019)"),
    ("darts-2nd", "darts_second", "gradient search, second order (Liu et al. 2019)"),
    ("enas", "enas", "a controller and shared weights, in turn (Pham et al. 2018)"),
    ("fairnas", "fairnas", "strictly fair single paths, then evolution (Chu et al. 2021)"),
    ("ofa", "ofa", "sandwich rule and distillation, then evolution (Cai et al. 2020)"),
    ("random", "random", "uniform draws, each trained for a few epochs"),
    ("spos", "spos", "uniform single paths, then evolution (Guo et al. 2020)"),
):
    _registry.strategies.register(_name, f"nas_domains.strategies.presets:{_attribute}", _summary)
