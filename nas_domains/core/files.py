"""Writing files so that none is ever half written."""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .errors import UsageError

PART = ".part"
"""Ending of a file that is being written."""


def write_atomic(path: Path, write: Callable[[Path], None]) -> None:
    """Lets ``write`` fill a temporary file beside ``path``, then renames it over ``path``.

    Folders on the way are made.

    Raises:
        UsageError: The place cannot be written, or the disk is full.
    """
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
        temporary = Path(name)
        write(temporary)
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(path)!r} ({error.strerror or error}): "
            "choose a place that is writable and has room."
        ) from None
    finally:
        if temporary is not None and temporary.exists():
            temporary.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes UTF-8 text atomically; see :func:`write_atomic`."""
    write_atomic(path, lambda temporary: _write(temporary, text))


def write_json(path: Path, content: Any) -> None:
    """Writes indented JSON atomically; NaN and infinity become null."""
    write_text(path, json.dumps(finite(content), indent=2, allow_nan=False) + "\n")


def check_place(path: Path) -> None:
    """Refuses a file that could not be written, before any work is done for it.

    Raises:
        UsageError: It is a folder, or its folder cannot be written.
    """
    place = path.parent
    while not place.exists() and place != place.parent:
        place = place.parent
    if path.is_dir() or not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        raise UsageError(f"Cannot write {str(path)!r}: choose a place that is writable.")


def plain(content: Any) -> Any:
    """The same content in types that JSON and YAML have: numpy scalars, paths and tuples too."""
    if isinstance(content, Mapping):
        return {str(key): plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [plain(value) for value in content]
    if isinstance(content, os.PathLike):
        return os.fspath(content)
    return content.item() if hasattr(content, "item") else content


def finite(content: Any) -> Any:
    """The same content with NaN and infinity as None, which JSON can say."""
    if isinstance(content, float):
        return content if content == content and abs(content) != float("inf") else None
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    return content


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
