"""Checkpoints: nested state dictionaries in one safetensors file, written whole or not at all."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..core.errors import UsageError
from ..core.files import write_atomic


def save(path: Path, state: Any) -> None:
    """Writes a nested state of dictionaries, lists, tensors and JSON values.

    Tensors go into the file, the structure around them into its header. Nothing is pickled.

    Args:
        path: The ``.safetensors`` file; replaced as one.
        state: The content; keys may be strings or whole numbers.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_flatten(state, tensors))

    def write(file: Path) -> None:
        try:
            save_file(tensors, file, metadata={"state": structure})
        except SafetensorError as error:  # so it reports a full disk
            raise OSError(str(error)) from None

    write_atomic(path, write)


def load(path: Path) -> Any:
    """Reads what :func:`save` wrote, onto the CPU.

    Raises:
        UsageError: The file is damaged or is not a checkpoint.
    """
    try:
        with safe_open(path, framework="pt") as file:
            structure = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return _restore(structure, tensors)
    except (SafetensorError, LookupError, ValueError, TypeError, AttributeError, OSError):
        raise UsageError(
            f"The checkpoint {str(path)!r} is damaged: delete it, and the stage starts anew."
        ) from None


def _flatten(value: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # A copy of its own: safetensors refuses tensors that share memory.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        return {"tensor": name}
    if isinstance(value, Mapping):
        return {"map": [[key, _flatten(item, tensors)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        return {"list": [_flatten(item, tensors) for item in value]}
    return {"value": value}


def _restore(node: dict[str, Any], tensors: Mapping[str, Tensor]) -> Any:
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "map":
        return {key: _restore(item, tensors) for key, item in content}
    if kind == "list":
        return [_restore(item, tensors) for item in content]
    if kind == "value":
        return content
    raise ValueError(kind)
