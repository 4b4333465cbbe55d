"""OneOf: a place in a person's own model that one of several modules takes."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..core.architecture import Option
from ..core.errors import UsageError
from ..ops import weighted_sum
from .relaxed import Row


class OneOf(nn.Module):
    """One of several candidates; which of them is a choice of the search.

        self.mix = OneOf({"conv3": conv(3), "conv5": conv(5), "skip": nn.Identity()})

    A :class:`~nas_domains.nn.model_space.ModelSpace` reads the choices of a model off its OneOfs
    and names each by the label, or else by the place in the model (``blocks.0``). OneOfs of one
    label share one choice. A OneOf inside a candidate is a choice that is there only where that
    candidate is.

    It takes any arguments. Where a supernet weighs all candidates, their outputs must be floating
    tensors of one shape, of any number of dimensions, and no candidate may change its input in
    place. Outside a supernet the weights are equal.

    Args:
        candidates: Name -> module, in the order of the options.
        label: Name of the choice, shared by all OneOfs that have it.

    Attributes:
        candidates: The modules by name.
        label: As given.
        choice: Name of its choice, once a space has read it.
        weights: What the next forward pass does: weights [K] of all candidates, the same with
            the indices of those that run, the index of the only one to run, or None for equal
            weights. A supernet sets it at each pass; it is no part of the state and is not copied.

    Raises:
        UsageError: No candidate, one that is no module, or a name or label that cannot be used.
    """

    def __init__(self, candidates: Mapping[str, nn.Module], label: str | None = None) -> None:
        super().__init__()
        if label is not None and (not isinstance(label, str) or not label):
            raise UsageError(f"The label {label!r} of a OneOf must be a text that is not empty.")
        self.label = label
        self.choice: str | None = None
        self.weights: Row | int | None = None
        self.candidates = nn.ModuleDict()
        if not isinstance(candidates, Mapping) or not candidates:
            raise UsageError(
                f"There are no candidates in {self._title()}: give it a dictionary of names and "
                "modules that is not empty."
            )
        for name, module in candidates.items():
            self._add(name, module)

    def _add(self, name: str, module: nn.Module) -> None:
        if not isinstance(module, nn.Module):
            raise UsageError(
                f"The candidate {name!r} of {self._title()} is {module!r}: give it an nn.Module."
            )
        try:
            self.candidates.add_module(name, module)
        except (KeyError, TypeError):
            raise UsageError(
                f"A candidate of {self._title()} cannot be called {name!r}: use a text without "
                "dots that is no method of nn.ModuleDict."
            ) from None

    def _title(self) -> str:
        """How errors call it."""
        name = self.choice or self.label
        if name is not None:
            return f"the OneOf {name!r}"
        known = ", ".join(self.candidates)
        return f"the OneOf of {known}" if known else "a OneOf"

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The chosen candidate's output, or the weighted sum of all.

        Raises:
            UsageError: Outputs that cannot be added, a candidate that changes its input, or a
                OneOf that a network still holds though it was replaced.
        """
        if not self.candidates:
            raise UsageError(
                f"The network still calls {self._title()}, which was replaced by a candidate: "
                "reach it as a submodule and not through a list or a copy of it."
            )
        if isinstance(self.weights, int):
            return list(self.candidates.values())[self.weights](*args, **kwargs)
        names, weights = list(self.candidates), self.weights
        if isinstance(weights, tuple):
            weights, active = weights
            names = [names[k] for k in active]
            weights = weights[list(active)]
        outputs = [self._run(name, args, kwargs) for name in names]
        self._check(names, outputs)
        if weights is None:
            count = len(outputs)
            weights = torch.full((count,), 1 / count, device=outputs[0].device)
        return weighted_sum(outputs, weights)

    def _run(self, name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        given = [x for x in (*args, *kwargs.values()) if isinstance(x, Tensor)]
        # Tensors of inference mode do not count their changes.
        counted = [x for x in given if not x.is_inference()]
        before = [x._version for x in counted]
        output = self.candidates[name](*args, **kwargs)
        if [x._version for x in counted] != before:
            raise UsageError(
                f"The candidate {name!r} of {self._title()} changes its input in place, which the "
                "others read too: make it with inplace=False."
            )
        return output

    def _check(self, names: list[str], outputs: list[Any]) -> None:
        for name, output in zip(names, outputs, strict=True):
            if not isinstance(output, Tensor) or not output.is_floating_point():
                what = output.dtype if isinstance(output, Tensor) else type(output).__name__
                raise UsageError(
                    f"The candidate {name!r} of {self._title()} gives {what}: candidates must "
                    "give floating tensors, so that a supernet can add them."
                )
            if output.shape != outputs[0].shape:
                raise UsageError(
                    f"The candidates of {self._title()} differ in the shape of their output: "
                    f"{names[0]!r} gives {tuple(outputs[0].shape)}, {name!r} "
                    f"{tuple(output.shape)}, so make them one shape."
                )

    def __getstate__(self) -> dict[str, Any]:
        # Weights belong to a forward pass: with the graph behind them they cannot be copied.
        return {**self.__dict__, "weights": None}

    def extra_repr(self) -> str:
        """The label, where there is one."""
        return "" if self.label is None else f"label={self.label!r}"


def take(model: nn.Module, options: Mapping[str, Option]) -> nn.Module:
    """Replaces each OneOf of a model by its chosen candidate, in place.

    Args:
        model: Its OneOfs have been read by a space.
        options: Choice -> option; choices inside candidates that are not chosen may be absent.

    Returns:
        The model, now plain; where the model itself is a OneOf, its candidate.
    """
    ones = [m for m in model.modules() if isinstance(m, OneOf)]
    network = _taken(model, options)
    for one in ones:
        # A OneOf that is held outside the modules too says so when it runs.
        one.candidates = nn.ModuleDict()
    return network


def _taken(module: nn.Module, options: Mapping[str, Option]) -> nn.Module:
    while isinstance(module, OneOf):
        assert module.choice is not None
        module = module.candidates[str(options[module.choice])]
    for name, child in module._modules.items():
        if child is not None:
            module._modules[name] = _taken(child, options)
    return module
