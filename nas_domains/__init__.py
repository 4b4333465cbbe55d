"""Neural architecture search for vision, medical imaging, text and speech.

The public names load what they need at first use: ``import nas_domains`` alone imports no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from . import evaluation, medical, strategies, vision
from .core.registry import actions, spaces
from .version import __version__

if TYPE_CHECKING:
    from .compose import resume, search
    from .core.architecture import Architecture
    from .core.errors import UsageError
    from .core.limit import CostTable, Limit
    from .core.objective import Objective
    from .core.run import Run
    from .core.space import Choice, SearchSpace
    from .core.space_text import load_space
    from .core.task import Recipe, Task, load_task
    from .export.load import load
    from .nn.model_space import ModelSpace
    from .nn.one_of import OneOf

actions.register("report", "nas_domains.report:write_report", "writes report.html")
actions.register("costs", "nas_domains.hardware.cost:counted", "params and macs of a network")
actions.register("path-sampler", "nas_domains.ops.path_sampler:compiled", "draws under a limit")

_HOME = {
    "Architecture": "core.architecture",
    "Choice": "core.space",
    "CostTable": "core.limit",
    "Limit": "core.limit",
    "ModelSpace": "nn.model_space",
    "Objective": "core.objective",
    "OneOf": "nn.one_of",
    "Recipe": "core.task",
    "Run": "core.run",
    "SearchSpace": "core.space",
    "Task": "core.task",
    "UsageError": "core.errors",
    "load": "export.load",
    "load_space": "core.space_text",
    "load_task": "core.task",
    "resume": "compose",
    "search": "compose",
}

__all__ = [
    "Architecture",
    "Choice",
    "CostTable",
    "Limit",
    "ModelSpace",
    "Objective",
    "OneOf",
    "Recipe",
    "Run",
    "SearchSpace",
    "Task",
    "UsageError",
    "__version__",
    "evaluation",
    "load",
    "load_space",
    "load_task",
    "medical",
    "resume",
    "search",
    "spaces",
    "strategies",
    "vision",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'nas_domains' has no attribute {name!r}")
    return getattr(importlib.import_module(f"nas_domains.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
