"""Spaces whose choices are read off the OneOfs in a module."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ..core.architecture import Architecture
from ..core.space import SearchSpace
from .model_choices import ModelChoices
from .model_supernet import ModelSupernet
from .one_of import take


class OneOfSpace(SearchSpace):
    """The space of all plain modules that a model with OneOfs stands for; a base.

    Args:
        name: Name of the space.
        model: A model as :meth:`whole` makes it; its OneOfs are told their choices.
        config: Settings, as in the base.

    Attributes:
        kinds: Number of options, as text -> names of the choices that have as many: the rows of a
            supernet's architecture parameters of that kind.

    Raises:
        UsageError: A model without OneOf, or OneOfs that do not fit together.
    """

    has_supernet = True
    mixes = True

    def __init__(self, name: str, model: nn.Module, config: Mapping[str, Any]) -> None:
        read = ModelChoices(model)
        super().__init__(name, read.choices, config)
        self._with_parameters = read.with_parameters
        self.kinds: dict[str, list[str]] = {}
        for choice in self.choices:
            self.kinds.setdefault(str(len(choice.options)), []).append(choice.name)

    @abstractmethod
    def whole(self, input_shape: tuple[int, ...], outputs: int) -> nn.Module:
        """A new model with its OneOfs, which have been told their choices.

        Args:
            input_shape: Shape of one input, without the batch.
            outputs: Size of the model's output.
        """

    def plain(self, model: nn.Module, architecture: Architecture) -> nn.Module:
        """A model of :meth:`whole` without OneOfs, as an architecture says; changed in place.

        Raises:
            UsageError: An architecture of another space.
        """
        return take(model, self.architecture(architecture))

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> ModelSupernet:
        """The supernet; see :meth:`SearchSpace.supernet`.

        Raises:
            UsageError: As :meth:`build`, or candidates whose outputs cannot be added.
        """
        return ModelSupernet(self, self.whole(input_shape, outputs))

    def decode(self, strengths: Mapping[str, Tensor]) -> Architecture:
        """The option of the largest weight of each choice that is there.

        Args:
            strengths: Kind -> weights [choices, K], as a supernet gives them.
        """
        best: dict[str, Any] = {}
        for kind, names in self.kinds.items():
            for name, option in zip(names, strengths[kind].argmax(dim=1).tolist(), strict=True):
                best[name] = self._by_name[name].options[option]
        return self.complete(best, None)

    def evidence(self, architecture: Architecture, logs: Mapping[str, Tensor]) -> float:
        """The sum of what logarithms of weights, kind -> [choices, K], say for its options."""
        return sum(
            float(logs[kind][row, self._by_name[name].options.index(architecture[name])])
            for kind, names in self.kinds.items()
            for row, name in enumerate(names)
            if name in architecture
        )

    def parameter_free(self, architecture: Architecture) -> float:
        """See the base: of the choices that have an option with parameters."""
        taken = [
            (name, option) in self._with_parameters
            for name, option in architecture.items()
            if any((name, other) in self._with_parameters for other in self._by_name[name].options)
        ]
        return taken.count(False) / len(taken) if taken else 0.0
