"""Spaces by name: ``darts:cells=4,channels=8``."""

from typing import Any

from .errors import UsageError
from .registry import spaces
from .space import SearchSpace


def parse_space(text: str) -> tuple[str, dict[str, Any]]:
    """Splits ``darts:cells=4,channels=8`` into the name and the keyword arguments.

    Numbers become int or float, ``true``/``false`` bool, the rest stays text.

    Raises:
        UsageError: An argument without a value, or one given twice.
    """
    name, _, rest = text.partition(":")
    arguments: dict[str, Any] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not value or not key.isidentifier() or key in arguments:
            raise UsageError(
                f"{part!r} in --space {text!r} is not one NAME=VALUE: write "
                "darts:cells=4,channels=8."
            )
        arguments[key] = _literal(value)
    return name, arguments


def _literal(value: str) -> Any:
    if value in ("true", "false"):
        return value == "true"
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value


def load_space(text: str, **arguments: Any) -> SearchSpace:
    """The registered space of a text such as ``darts:cells=4``.

    Args:
        text: Name, and sizes after a colon.
        **arguments: More sizes; they win over those in the text.

    Raises:
        UsageError: Unknown name, or an argument that the space does not take.
    """
    name, parsed = parse_space(text)
    space: SearchSpace = spaces.get(name, **(parsed | arguments))
    return space
