"""The contract tests that every space with a supernet inherits.

`SupernetContract` is for spaces whose supernet runs one architecture at a time,
`MixedSupernetContract` for those whose supernet also runs all candidates at once, weighed by
architecture parameters. Needs the extra ``test``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from nas_domains.core.architecture import Architecture
from nas_domains.core.space import SearchSpace
from nas_domains.nn.cell_space import CellSpace

from .spaces import NetworkContract

__all__ = ["MixedSupernetContract", "SupernetContract"]


class SupernetContract(NetworkContract):
    """Base of the tests of a space whose networks share the weights of a supernet.

    Attributes:
        rounding: By how much the supernet may differ from the network of the architecture that it
            runs, relative to the largest number; by nothing where products are of the same form.
    """

    covers: ClassVar[frozenset[str]] = NetworkContract.covers | {"supernet"}
    rounding: ClassVar[float] = 0.0

    @pytest.fixture
    def supernet(self, space: SearchSpace) -> Any:
        """A supernet of the space for the first input shape, from fixed random weights."""
        torch.manual_seed(0)
        return space.supernet(self.input_shapes[0], self.outputs)

    def test_supernet_runs_one_architecture_bit_for_bit(
        self, supernet: Any, architectures: list[Architecture]
    ) -> None:
        for architecture in architectures[: self.networks]:
            network = supernet.extract(architecture)
            supernet.set_architecture(architecture)
            # Training first, so that the running statistics of evaluation are not the initial.
            for seed, training in enumerate((True, True, False)):
                x = self.inputs(self.input_shapes[0], seed)
                mine = supernet.train(training)(x)
                self.same(mine, network.train(training)(x), "the output")
            state = network.state_dict()
            for name, value in supernet.extract(architecture).state_dict().items():
                self.same(value, state[name], name)

    def same(self, mine: Tensor, other: Tensor, what: str) -> None:
        """Asserts that two tensors are the same but for rounding."""
        if not self.rounding:
            assert torch.equal(mine, other), what
            return
        difference = (mine.double() - other.double()).abs().max()
        assert difference <= self.rounding * other.double().abs().max(), what

    def test_extracted_network_shares_no_memory(
        self, supernet: Any, architectures: list[Architecture]
    ) -> None:
        before = {name: value.clone() for name, value in supernet.state_dict().items()}
        network = supernet.extract(architectures[0])
        for value in network.state_dict().values():
            value.add_(1)
        for name, value in supernet.state_dict().items():
            assert torch.equal(value, before[name]), name

    def test_parameters_are_architecture_or_weights(self, supernet: Any) -> None:
        split = [*supernet.architecture_parameters(), *supernet.weight_parameters()]
        assert Counter(map(id, split)) == Counter(map(id, supernet.parameters()))
        assert supernet.weight_parameters()

    def test_no_architecture_goes_back_to_the_whole(
        self, supernet: Any, architectures: list[Architecture]
    ) -> None:
        x = self.inputs(self.input_shapes[0])
        supernet.eval()
        before = supernet(x)
        supernet.set_architecture(architectures[0])
        assert not torch.equal(supernet(x), before)
        supernet.set_architecture(None)
        assert torch.equal(supernet(x), before)


class MixedSupernetContract(SupernetContract):
    """Base of the tests of a space whose supernet mixes its candidates."""

    covers: ClassVar[frozenset[str]] = SupernetContract.covers | {"mixed"}

    def one_hot_strengths(
        self, space: SearchSpace, architecture: Architecture
    ) -> Mapping[str, Tensor]:
        """Strengths, as a supernet gives them, that speak for one architecture alone."""
        assert isinstance(space, CellSpace), "override one_hot_strengths for this kind of space"
        names = list(space.candidates)
        strengths = {
            kind: torch.zeros(len(space.design.edges), len(names)) for kind in space.kinds
        }
        for kind, edges in space.genotype(architecture).items():
            for edge, name in edges.items():
                strengths[kind][space.design.edges.index(edge), names.index(name)] = 1
        return strengths

    def test_gradient_reaches_architecture_parameters(self, supernet: Any) -> None:
        scores = supernet(self.inputs(self.input_shapes[0]))
        scores.backward(self.inputs(tuple(scores.shape[1:]), seed=1))
        parameters = supernet.architecture_parameters()
        assert parameters
        for parameter in parameters:
            assert parameter.grad is not None and parameter.grad.isfinite().all()
            assert parameter.grad.flatten(1).any(dim=1).all(), "a row without gradient"

    def test_decode_takes_the_candidates_with_all_weight(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        decoder: Any = space
        for architecture in architectures:
            strengths = self.one_hot_strengths(space, architecture)
            assert decoder.decode(strengths) == architecture
