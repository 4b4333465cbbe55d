"""Strategies: named compositions that fill a run, by name."""

from ..core.registry import strategies

strategies.register("darts", "nas_domains.strategies.presets:darts", "DARTS, first order (Liu et al. 2019)")
strategies.register("darts-2nd", "nas_domains.strategies.presets:darts_second", "DARTS, second order")
strategies.register("random", "nas_domains.strategies.presets:random", "uniform draws, each trained")
