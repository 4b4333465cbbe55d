"""PathSampler where it was compiled: exact draws of architectures under limits on costs."""

from __future__ import annotations

import importlib
from typing import Any

__all__ = ["compiled"]


def compiled() -> Any:
    """Returns the class ``nas_domains._sampler.PathSampler``, or None if it was not built."""
    try:
        return importlib.import_module("nas_domains._sampler").PathSampler
    except ModuleNotFoundError:
        return None
