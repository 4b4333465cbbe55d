"""Imports a module of ours as soon as one of another package is imported.

``import nas_domains`` must not import transformers, and whoever loads a folder that a run has
handed back must not have to call anything but ``AutoModel.from_pretrained``.
"""

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Followed(Loader):
    """A module's own loader, behind which others are imported."""

    def __init__(self, own: Any, others: Sequence[str]) -> None:
        self.own, self.others = own, others

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.own.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self.own.exec_module(module)
        for other in self.others:
            _import(other)


class _Finder(MetaPathFinder):
    def __init__(self, name: str) -> None:
        self.name = name
        self.others: list[str] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Followed(spec.loader, self.others)
        return spec


def _import(other: str) -> None:
    # An older version of the package that is waited for must work on for whoever else uses it.
    with contextlib.suppress(ImportError):
        importlib.import_module(other)


def import_behind(name: str, other: str) -> None:
    """Imports a module now if another has been imported, else right after that.

    Where it cannot be imported, for the other package is too old for it, nothing happens.

    Args:
        name: Full name of the module that is waited for.
        other: Full name of the module that is imported.
    """
    if name in sys.modules:
        _import(other)
        return
    finders = [f for f in sys.meta_path if isinstance(f, _Finder) and f.name == name]
    if not finders:
        finders = [_Finder(name)]
        sys.meta_path.insert(0, finders[0])
    finders[0].others.append(other)
