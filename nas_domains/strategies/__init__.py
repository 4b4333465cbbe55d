"""Strategies: named compositions that fill a run, by name."""

from ..core import registry as _registry

for _name, _attribute, _summary in (
    ("darts", "darts", "gradient search, first order (Liu et al. 2019)"),
    ("darts-2nd", "darts_second", "gradient search, second order (Liu et al. 2019)"),
    ("random", "random", "uniform draws, each trained for a few epochs"),
):
    _registry.strategies.register(_name, f"nas_domains.strategies.presets:{_attribute}", _summary)
