"""Calls something as soon as a module of another package is imported.

``import nas_domains`` must not import transformers, and whoever loads a folder that a run has
handed back must not have to call anything but ``AutoModel.from_pretrained``.
"""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Told(Loader):
    """A module's own loader, behind which something is called."""

    def __init__(self, own: Any, calls: Sequence[Callable[[], None]]) -> None:
        self.own, self.calls = own, calls

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.own.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self.own.exec_module(module)
        for call in self.calls:
            call()


class _Finder(MetaPathFinder):
    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Callable[[], None]] = []

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Told(spec.loader, self.calls)
        return spec


def when_imported(name: str, call: Callable[[], None]) -> None:
    """Calls something now if a module has been imported, else right after that.

    Args:
        name: Full name of the module.
        call: What is called, once.
    """
    if name in sys.modules:
        call()
        return
    finders = [f for f in sys.meta_path if isinstance(f, _Finder) and f.name == name]
    if not finders:
        finders = [_Finder(name)]
        sys.meta_path.insert(0, finders[0])
    finders[0].calls.append(call)
