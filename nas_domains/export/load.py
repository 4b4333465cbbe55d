"""Loading the network that a run found."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.registry import spaces
from ..core.run import Run
from ..core.space import SearchSpace
from ..evaluation import checkpoint
from ..nn.model_space import Model, space_of


def load_description(path: str | Path) -> dict[str, Any]:
    """What the best network of a run is: space, architecture, input shape, classes, preprocessing.

    Args:
        path: The run directory.

    Raises:
        UsageError: No run there, none trained yet, or a damaged file.
    """
    run = Run.open(path)
    file = run.path / "best" / "network.json"
    if not file.is_file():
        raise UsageError(
            f"The run {str(path)!r} has no trained network yet: nas-domains resume {path}"
        )
    try:
        description: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        description["input_shape"] = tuple(description["input_shape"])
        description["architecture"]["choices"]  # noqa: B018 - the key that a damaged file lacks
    except (ValueError, KeyError, TypeError):
        raise UsageError(f"{str(file)!r} is damaged: restore it from a copy.") from None
    return description


def space_and_architecture(
    description: Mapping[str, Any], space: SearchSpace | Model | None = None
) -> tuple[SearchSpace, Architecture]:
    """The space that a description names, or the one given, and the architecture in it.

    Raises:
        UsageError: The space is not registered, or the architecture is not one of it.
    """
    if space is None:
        if description["space"] not in spaces:
            raise UsageError(
                f"The space {description['space']!r} is not registered: pass it as "
                "nas_domains.load(..., space=...)."
            )
        space = spaces.get(description["space"], **description["config"])
    found = space_of(space)
    return found, found.from_json(json.dumps(description["architecture"]))


def build(
    description: Mapping[str, Any], *, space: SearchSpace | Model | None = None
) -> nn.Module:
    """The network of a description with fresh weights; see :func:`space_and_architecture`."""
    found, architecture = space_and_architecture(description, space)
    return found.build(architecture, description["input_shape"], description["outputs"])


def load(path: str | Path, *, space: SearchSpace | Model | None = None) -> nn.Module:
    """The trained winner of a run as a plain ``nn.Module`` on the CPU, in evaluation mode.

    It takes float32 [B, C, ...] prepared as in training (see ``preprocess`` in
    ``best/network.json``; ``nas-domains predict`` does it) and returns [B, outputs].

    Args:
        path: The run directory.
        space: The space or model, where the run was made with one that is not registered.

    Raises:
        UsageError: As :func:`load_description`, a space that is not registered, or weights that
            do not fit.
    """
    network = build(load_description(path), space=space)
    file = Path(path) / "best" / "model.safetensors"
    state: Mapping[str, Any] = checkpoint.load(file)
    try:
        network.load_state_dict(state)
    except (RuntimeError, AttributeError):
        raise UsageError(
            f"The weights {str(file)!r} do not fit the architecture beside them: "
            "restore them from a copy."
        ) from None
    return network.eval()
