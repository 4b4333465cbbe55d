"""Makes transformers know our encoders as soon as its own automatic classes are imported.

``import nas_domains`` must not import transformers, and whoever loads a folder that a run has
handed back must not have to call anything but ``AutoModel.from_pretrained``.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

_AUTO = "transformers.models.auto"
_LAST = f"{_AUTO}.modeling_auto"
"""The module that defines the automatic models, behind the automatic configurations."""


class _Told(Loader):
    """A module's own loader, behind which our classes are registered."""

    def __init__(self, own: Any) -> None:
        self.own = own

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        made: ModuleType | None = self.own.create_module(spec)
        return made

    def exec_module(self, module: ModuleType) -> None:
        self.own.exec_module(module)
        _register()


class _Finder(MetaPathFinder):
    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _LAST:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            spec.loader = _Told(spec.loader)
        return spec


def _register() -> None:
    importlib.import_module("nas_domains.text.modeling").register()


def install() -> None:
    """Registers our classes now, or when transformers' automatic models are imported."""
    if _LAST in sys.modules:
        _register()
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
