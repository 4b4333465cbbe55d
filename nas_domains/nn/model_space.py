"""The search space of a person's own model: its choices are read off the OneOfs in it."""

import copy
import hashlib
import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.limit import CostTable
from ..core.space import SearchSpace
from .model_choices import ModelChoices
from .one_of import OneOf
from .one_of_space import OneOfSpace

Model = nn.Module | Callable[[], nn.Module]
"""A module, or a function (or class) without arguments that makes one."""


class ModelSpace(OneOfSpace):
    """The space of all plain modules that a model with OneOfs stands for.

        space = ModelSpace(Net)  # or ModelSpace(lambda: Net(width=32))

    A function is called for each network, so that each starts from weights of its own, drawn as
    the model draws them. Of a module, copies are made in which every submodule that has a
    ``reset_parameters`` is reset; a parameter that none of them sets keeps the module's value in
    every network, so that a run goes on bit for bit only with a module of the same values.

    Args:
        model: A function without arguments that makes the model, or the model.
        name: Name of the space; the model's class by default.

    Raises:
        UsageError: Not a model, one without OneOf, or OneOfs that do not fit together.
    """

    def __init__(self, model: Model, name: str | None = None) -> None:
        self._make = _maker(model)
        with torch.random.fork_rng():
            made = self._make()
        super().__init__(name or type(made).__name__, made, {"model": _digest(made)})

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> nn.Module:
        """The plain module of an architecture, freshly initialised; see the base.

        Raises:
            UsageError: An architecture of another space, or a model that does not take such
                inputs or gives other outputs.
        """
        network = self.plain(self._model(), architecture)
        self._try(network, input_shape, outputs)
        return network

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The table of ``params``; see :meth:`SearchSpace.cost_tables`."""
        with torch.random.fork_rng():
            model = self.whole(input_shape, outputs)
        return {"params": ModelChoices(model).parameter_table()}

    def _model(self) -> nn.Module:
        """A new model with its OneOfs, which are told their choices."""
        model = self._make()
        if ModelChoices(model).choices != self.choices:
            raise UsageError(
                f"The model {self.name!r} has other OneOfs each time it is made: let nothing but "
                "the code decide which it has."
            )
        return model

    def whole(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A new model, all of whose candidates have been run once; see the base."""
        model = self._model()
        ran: set[nn.Module] = set()
        ones = [m for m in model.modules() if isinstance(m, OneOf)]
        hooks = [one.register_forward_hook(lambda m, *_: ran.add(m)) for one in ones]
        self._try(model, input_shape, outputs)
        for hook in hooks:
            hook.remove()
        for one in ones:
            if one not in ran:
                raise UsageError(
                    f"The model {self.name!r} never calls the OneOf {one.choice!r}: call it in "
                    "forward, or take it out."
                )
        return model

    def _try(self, network: nn.Module, input_shape: tuple[int, ...], outputs: int) -> None:
        """Runs two inputs of zeros: lazy parameters get their shapes, misfits are said."""
        shape = tuple(input_shape)
        first = next(network.parameters(), None)
        x = torch.zeros((2, *shape), device=None if first is None else first.device)
        was_training = network.training
        network.eval()
        try:
            with torch.no_grad():
                y = network(x)
        except UsageError:
            raise
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(
                f"The model {self.name!r} fails on inputs of shape {shape} ({reason}): make it "
                "take what the task gives."
            ) from error
        network.train(was_training)
        found = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        if found[:2] != (2, outputs):
            raise UsageError(
                f"The model {self.name!r} gives {found} for two inputs of shape {shape}, not "
                f"(2, {outputs}): make its last layer give {outputs} values."
            )


def space_of(space: SearchSpace | Model) -> SearchSpace:
    """The space itself, or the space of a person's own model."""
    return space if isinstance(space, SearchSpace) else ModelSpace(space)


def _maker(model: Model) -> Callable[[], nn.Module]:
    """What makes a new model each time, with weights drawn from torch's global generator."""
    if isinstance(model, nn.Module):
        return partial(_reset_copy, copy.deepcopy(model))
    if not callable(model):
        raise UsageError(
            f"{model!r} is no model: give an nn.Module, or a function without arguments that "
            "makes one."
        )
    name = _name(model)
    needed = [p.name for p in _parameters(model) if p.default is p.empty and _is_needed(p)]
    if needed:
        raise UsageError(
            f"{name} needs {', '.join(needed)} to make a model: give lambda: {name}(...) instead."
        )
    return partial(_called, model)


def _reset_copy(template: nn.Module) -> nn.Module:
    # Children first, so that a module may set its own in another way.
    return copy.deepcopy(template).apply(_reset)


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def _called(model: Callable[[], nn.Module]) -> nn.Module:
    made = model()
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{_name(model)} gives {type(made).__name__}: give a function that makes an nn.Module."
        )
    if any(isinstance(m, OneOf) and m.choice is not None for m in made.modules()):
        raise UsageError(
            f"{_name(model)} gives a model that it gave before: make a new one at each call, or "
            "pass the model itself."
        )
    return made


def _name(model: Callable[[], nn.Module]) -> str:
    return getattr(model, "__name__", repr(model))


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except ValueError:
        return []


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _digest(model: nn.Module) -> str:
    """16 hexadecimal digits that tell models of other parameters and buffers apart."""
    tensors = [*model.named_parameters(), *model.named_buffers()]
    shapes = [[name, "lazy" if is_lazy(t) else list(t.shape)] for name, t in tensors]
    return hashlib.sha256(json.dumps(shapes).encode()).hexdigest()[:16]
