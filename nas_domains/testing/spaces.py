"""The contract tests that every search space inherits.

    class TestMySpace(NetworkContract):
        input_shapes = ((3, 9, 7), (1, 8, 8))

        def make_space(self) -> SearchSpace:
            return my_space(cells=2, channels=4)

`SpaceContract` is for spaces that build no modules, `NetworkContract` for those that build plain
networks; for those whose networks also share weights see :mod:`nas_domains.testing.supernets`. A
space that can do more than its contract tests fails. Needs the extra ``test``.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from functools import cache
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from nas_domains.core.architecture import Architecture
from nas_domains.core.encoding import PATH_BITS
from nas_domains.core.errors import UsageError
from nas_domains.core.space import SearchSpace
from nas_domains.hardware.cost import counted

__all__ = ["NetworkContract", "SpaceContract", "assert_uniform"]

_FINGERPRINTS = """
import importlib, json, operator, sys
module, names, sys.path[:] = json.loads(sys.argv[1])
home = importlib.import_module(module)
spaces = {name: operator.attrgetter(name)(home)().make_space() for name in names}
print(json.dumps({name: space.fingerprint for name, space in spaces.items()}))
"""


@cache
def _fingerprints_elsewhere(module: str) -> dict[str, str]:
    """The fingerprints of all contract tests of a module, from a process of another hash seed."""
    names = [c.__qualname__ for c in _subclasses(SpaceContract) if c.__module__ == module]
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    printed = subprocess.run(
        [sys.executable, "-c", _FINGERPRINTS, json.dumps([module, names, sys.path])],
        env={**os.environ, "PYTHONHASHSEED": seed},
        capture_output=True,
        text=True,
    )
    assert printed.returncode == 0, printed.stderr
    found: dict[str, str] = json.loads(printed.stdout)
    return found


def _subclasses(base: type) -> list[type]:
    """Those that say how their space is made."""
    children: list[type] = base.__subclasses__()
    found = [c for child in children for c in _subclasses(child)]
    makes = getattr(base, "make_space", None) is not SpaceContract.make_space
    return [base, *found] if makes else found


def assert_uniform(drawn: Counter[Any], options: int) -> None:
    """Fails where draws from equally likely options are not so, by a chi-square test.

    The bound is the quantile of one in a million, by the approximation of Wilson & Hilferty.

    Args:
        drawn: How often each option was drawn; those never drawn may be absent.
        options: How many there are.
    """
    if options == 1:
        return
    expected = drawn.total() / options
    assert expected >= 5, "too few draws for a chi-square test"
    squares = sum((n - expected) ** 2 for n in drawn.values())
    statistic = (squares + (options - len(drawn)) * expected**2) / expected
    spread = 2 / (9 * (options - 1))
    bound = (options - 1) * (1 - spread + 4.75 * math.sqrt(spread)) ** 3
    assert statistic < bound, f"chi-square {statistic:.1f} is not below {bound:.1f}: {drawn}"


class SpaceContract:
    """Base of a space's tests; a subclass says how the space is made.

    Attributes:
        samples: Architectures looked at by each test.
        enumerable: Largest size of a space that is enumerated and tested for uniform draws.
        covers: What a space may do that is tested here.
    """

    samples: ClassVar[int] = 40
    enumerable: ClassVar[int] = 400
    covers: ClassVar[frozenset[str]] = frozenset()

    def make_space(self) -> SearchSpace:
        """The space under test; called anew by each test, and in another process."""
        raise NotImplementedError

    def other_space(self) -> SearchSpace:
        """The same space with another size."""
        space = self.make_space()
        return SearchSpace(space.name, space.choices, {**space.config, "another size": 1})

    @pytest.fixture
    def space(self) -> SearchSpace:
        """What :meth:`make_space` makes."""
        return self.make_space()

    @pytest.fixture
    def architectures(self, space: SearchSpace) -> list[Architecture]:
        """Samples of the space."""
        return space.sample(self.samples, seed=3)

    def test_contract_covers_what_the_space_can_do(self, space: SearchSpace) -> None:
        can = {
            "networks": type(space).build is not SearchSpace.build,
            "supernet": space.has_supernet,
            "mixed": space.mixes,
        }
        missing = {name for name, does in can.items() if does} - self.covers
        assert not missing, f"inherit the contract that tests {missing}"

    def test_size_is_exact(self, space: SearchSpace, architectures: list[Architecture]) -> None:
        if space.size() <= self.enumerable:
            everything = list(space)
            assert len(everything) == len(set(everything)) == space.size()
            assert set(architectures) <= set(everything)
        else:
            assert 1 < len(set(architectures)) <= space.size()

    def test_samples_are_valid(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        assert len(architectures) == self.samples
        for architecture in architectures:
            assert space.architecture(architecture) == architecture

    def test_samples_repeat_by_seed(self, space: SearchSpace) -> None:
        assert space.sample(9, seed=5) == self.make_space().sample(9, seed=5)
        if space.size() > 100:
            assert space.sample(9, seed=5) != space.sample(9, seed=6)
        rng = np.random.default_rng(5)
        moved = space.sample(4, rng) + space.sample(5, rng)
        assert moved == space.sample(9, seed=5)

    def test_samples_are_uniform(self, space: SearchSpace) -> None:
        if space.size() <= self.enumerable:
            drawn = Counter(space.sample(20 * space.size(), seed=1))
            assert_uniform(Counter(map(str, drawn.elements())), space.size())
            return
        # In a space too large to count, choices that nothing depends on are uniform each.
        parents = {choice.parent for choice in space.choices}
        samples = space.sample(500, seed=1)
        for choice in space.choices:
            if choice.parent is None and choice.name not in parents:
                assert_uniform(Counter(s[choice.name] for s in samples), len(choice.options))

    def test_choices_are_present_where_their_parent_says_so(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        for architecture in architectures:
            for choice in space.choices:
                wanted = choice.parent is None or architecture.get(choice.parent) in choice.when
                assert (choice.name in architecture) == wanted, choice.name

    def test_neighbours_differ_in_one_choice(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        by_name = {choice.name: choice for choice in space.choices}
        for architecture in architectures[:10]:
            neighbours = space.neighbours(architecture)
            assert len(set(neighbours)) == len(neighbours)
            assert len(neighbours) == sum(len(by_name[n].options) - 1 for n in architecture)
            for neighbour in neighbours:
                assert space.architecture(neighbour) == neighbour
                both = [n for n in neighbour if n in architecture]
                assert sum(neighbour[n] != architecture[n] for n in both) == 1

    def test_mutation_changes_one_choice(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        if space.size() == 1:
            with pytest.raises(UsageError):
                space.mutate(architectures[0], 0)
            return
        for seed, architecture in enumerate(architectures):
            mutant = space.mutate(architecture, seed)
            assert mutant == space.mutate(architecture, seed)
            assert space.architecture(mutant) == mutant
            both = [n for n in mutant if n in architecture]
            assert sum(mutant[n] != architecture[n] for n in both) == 1

    def test_json_round_trip(self, space: SearchSpace, architectures: list[Architecture]) -> None:
        for architecture in architectures:
            text = architecture.to_json()
            again = self.make_space().from_json(text)
            assert again == architecture and hash(again) == hash(architecture)
            assert again.to_json() == text
            with pytest.raises(UsageError, match=space.fingerprint):
                self.other_space().from_json(text)

    def test_json_of_anything_else_is_refused(self, space: SearchSpace) -> None:
        good = space.sample(1)[0].as_dict()
        name = next(iter(good["choices"]))
        for bad in (
            "",
            "[]",
            json.dumps({"space": space.fingerprint}),
            json.dumps({**good, "choices": None}),
            json.dumps({**good, "choices": {}}),
            json.dumps({**good, "choices": {**good["choices"], name: "no such option"}}),
            json.dumps({**good, "choices": {**good["choices"], name: [1]}}),
            json.dumps({**good, "choices": {**good["choices"], "no such choice": 1}}),
        ):
            with pytest.raises(UsageError) as caught:
                space.from_json(bad)
            assert "\n" not in str(caught.value)

    def test_fingerprint_is_stable_and_tells_sizes_apart(self, space: SearchSpace) -> None:
        assert space.fingerprint != self.other_space().fingerprint
        elsewhere = _fingerprints_elsewhere(type(self).__module__)
        assert elsewhere[type(self).__qualname__] == space.fingerprint

    def test_one_hot_encoding(self, space: SearchSpace, architectures: list[Architecture]) -> None:
        length = sum(len(choice.options) for choice in space.choices)
        codes = {a: space.encode(a) for a in architectures}
        for architecture, code in codes.items():
            assert code.shape == (length,) and code.dtype == np.float32
            assert set(code.tolist()) <= {0.0, 1.0} and code.sum() == len(architecture)
        assert len({code.tobytes() for code in codes.values()}) == len(codes)

    def test_path_encoding(self, space: SearchSpace, architectures: list[Architecture]) -> None:
        other = self.make_space()
        for architecture in architectures:
            code = space.encode(architecture, "path")
            assert code.shape == (PATH_BITS,) and code.dtype == np.float32
            assert np.array_equal(code, other.encode(architecture, "path"))
            assert code.sum() <= len(set(space.paths(architecture)))
        with pytest.raises(UsageError, match="no such kind"):
            space.encode(architectures[0], "no such kind")


class NetworkContract(SpaceContract):
    """Base of the tests of a space that builds plain networks.

    Attributes:
        input_shapes: Inputs, without the batch, that its networks must take; give odd ones too.
        outputs: Size of the networks' output.
        networks: Architectures that are built by each test.
        untrained: What the names of weights begin with that are meant to stay as they are.
    """

    covers: ClassVar[frozenset[str]] = frozenset({"networks"})
    input_shapes: ClassVar[tuple[tuple[int, ...], ...]]
    outputs: ClassVar[int] = 3
    networks: ClassVar[int] = 3
    untrained: ClassVar[tuple[str, ...]] = ()

    def connected(self, architecture: Architecture) -> bool:
        """Whether every weight of an architecture lies on a way from the input to the output."""
        return True

    def inputs(self, shape: tuple[int, ...], seed: int = 0, batch: int = 4) -> Tensor:
        """A random batch [B, ...]."""
        return torch.randn((batch, *shape), generator=torch.Generator().manual_seed(seed))

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Shape of the output for one input of a shape; networks that map voxels return more.

        In training a network may return several such outputs, stacked in front.
        """
        return (self.outputs,)

    def test_networks_take_every_input_shape(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        for shape in self.input_shapes:
            for architecture in architectures[: self.networks]:
                network = space.build(architecture, shape, self.outputs)
                for training in (True, False):
                    scores = network.train(training)(self.inputs(shape))
                    assert scores.isfinite().all() and len(scores) == 4
                    wanted = self.output_shape(shape)
                    found = scores.shape[-len(wanted) :] if training else scores.shape[1:]
                    assert tuple(found) == wanted

    def test_cost_tables_add_up(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        shape = self.input_shapes[0]
        tables = space.cost_tables(shape, self.outputs)
        for architecture in architectures[:20]:
            found = counted(space.build(architecture, shape, self.outputs), shape)
            for metric, table in tables.items():
                cost = table.cost(architecture)
                assert cost <= found[metric], f"{metric} is no lower bound"
                assert cost == found[metric] or not table.exact, f"{metric} is not exact"

    def test_draws_and_mutants_keep_a_limit(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        shape = self.input_shapes[0]
        networks = [space.build(a, shape, self.outputs) for a in architectures[:9]]
        sizes = [counted(network, shape)["params"] for network in networks]
        limit = space.limit([f"params<={sorted(sizes)[4]}"], shape, self.outputs)
        drawn = space.sample(5, 2, limit)
        mutants = [space.mutate(a, 3, limit) for a in drawn] if space.size() > 1 else []
        for architecture in (*drawn, *mutants):
            network = space.build(architecture, shape, self.outputs)
            assert counted(network, shape)["params"] <= sorted(sizes)[4]
            assert space.architecture(architecture) == architecture

    def test_gradient_reaches_every_weight(
        self, space: SearchSpace, architectures: list[Architecture]
    ) -> None:
        connected = [a for a in space.sample(50 * self.networks, 4) if self.connected(a)]
        assert connected, "no sample is connected: raise networks"
        for architecture in connected[: self.networks]:
            torch.manual_seed(0)
            network = space.build(architecture, self.input_shapes[0], self.outputs)
            scores = network(self.inputs(self.input_shapes[0]))
            scores.backward(self.inputs(tuple(scores.shape[1:]), seed=1))
            for name, parameter in network.named_parameters():
                gradient = parameter.grad
                if name.startswith(self.untrained):
                    assert gradient is None
                    continue
                assert gradient is not None, f"no gradient reaches {name}"
                assert gradient.isfinite().all() and gradient.any(), name
