"""Configurations in the folders that ``save_pretrained`` of transformers writes."""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from .errors import UsageError


def read_config(path: object, known: Collection[str]) -> tuple[str, dict[str, Any]]:
    """The full path of a checkpoint and the content of its ``config.json``.

    Args:
        path: The folder.
        known: The kinds (``model_type``) that are understood.

    Raises:
        UsageError: No such folder, a damaged file, or another kind.
    """
    place = os.path.abspath(str(path))
    config = read_json(Path(place) / "config.json")
    if config is None:
        raise UsageError(
            f"{str(path)!r} holds no config.json: give the folder of a checkpoint that "
            "transformers wrote."
        )
    family = config.get("model_type")
    if family not in known:
        raise UsageError(
            f"{str(path)!r} is a {family!r} model: known are {', '.join(known)}, name one of "
            "these."
        )
    return place, config


def read_json(file: Path) -> dict[str, Any] | None:
    """An object in a file of JSON; None where there is no such file.

    Raises:
        UsageError: Something else is in it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict):
        raise UsageError(f"{str(file)!r} is damaged: restore it from a copy.")
    return content
