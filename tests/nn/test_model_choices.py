"""What is read off models: random ones, conditions, labels, and the table of parameters."""

from typing import Any

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nas_domains.core.errors import UsageError
from nas_domains.core.space import Choice
from nas_domains.hardware.cost import count_params
from nas_domains.nn.model_space import ModelSpace
from nas_domains.nn.one_of import OneOf
from tests.core.refusal import refused
from tests.make import one_sentence
from tests.nn.test_model_space import Net

# A module of a random model: a leaf, ("seq", modules) or ("one", label or None, modules); all keep
# the shape [..., 4]. "tied" is one and the same module in all its places.
LEAVES = st.sampled_from([("linear",), ("tanh",), ("identity",), ("norm",), ("tied",)])
LABELS = st.sampled_from([None, None, "x", "y"])


def ones(inner: Any) -> Any:
    return st.tuples(st.just("one"), LABELS, st.lists(inner, min_size=2, max_size=3))


def nested(depth: int) -> Any:
    if depth == 0:
        return LEAVES
    inner = nested(depth - 1)
    seq = st.tuples(st.just("seq"), st.lists(inner, min_size=1, max_size=2))
    return st.one_of(LEAVES, ones(inner), seq)


MODELS = st.lists(ones(nested(3)), min_size=1, max_size=3)


def made(module: Any, tied: nn.Module) -> nn.Module:
    kind, *rest = module
    if kind == "seq":
        return nn.Sequential(*(made(m, tied) for m in rest[0]))
    if kind == "one":
        label, inner = rest
        # Of one label all have as many candidates, so that they fit.
        inner = inner if label is None else inner[:2]
        return OneOf({f"o{i}": made(m, tied) for i, m in enumerate(inner)}, label)
    return {
        "linear": lambda: nn.Linear(4, 4),
        "tanh": nn.Tanh,
        "identity": nn.Identity,
        "norm": lambda: nn.LayerNorm(4),
        "tied": lambda: tied,
    }[kind]()


class Pooled(nn.Module):
    """[B, ..., 4] -> [B, 2]."""

    def __init__(self, modules: Any) -> None:
        super().__init__()
        tied = nn.Linear(4, 4)
        self.body = nn.Sequential(*(made(m, tied) for m in modules))
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.body(x).flatten(1, -2).mean(1) if x.dim() > 2 else self.body(x))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(MODELS, st.sampled_from([(4,), (3, 4), (2, 3, 4), (2, 1, 2, 4)]), st.integers(0, 99))
def test_random_models(modules: Any, shape: tuple[int, ...], seed: int) -> None:
    """Every choice counts where it is there, sub-networks equal the supernet, costs add up."""
    try:
        space = ModelSpace(lambda: Pooled(modules))
    except UsageError as error:
        one_sentence(str(error), "OneOf")
        return
    torch.manual_seed(seed)
    supernet = space.supernet(shape, 2)
    x = torch.randn(5, *shape, generator=torch.Generator().manual_seed(seed))
    supernet(x).square().sum().backward()
    assert all(a.grad is not None for a in supernet.architecture_parameters())
    table = space.cost_tables(shape, 2)["params"]
    ran: set[str] = set()
    for module in supernet.modules():
        if isinstance(module, OneOf):
            module.register_forward_hook(lambda m, *_: ran.add(m.choice))
    architectures = list(space) if space.size() <= 12 else space.sample(12, seed)
    for architecture in architectures:
        supernet.set_architecture(architecture)
        ran.clear()
        y = supernet(x)
        assert ran == set(architecture), "what runs is what the architecture names"
        network = supernet.extract(architecture)
        assert torch.equal(network(x), y)
        assert not any(isinstance(m, OneOf) for m in network.modules())
        fresh = space.build(architecture, shape, 2)
        assert repr(fresh) == repr(network), "the same modules in the same places"
        fresh.load_state_dict(network.state_dict())
        assert torch.equal(fresh(x), y)
        assert table.cost(architecture) <= count_params(fresh)
        assert table.cost(architecture) == count_params(fresh) or not table.exact


def test_names_and_conditions_are_those_of_the_model() -> None:
    space = ModelSpace(Net)
    assert space.name == "Net"
    assert space.choices == (
        Choice("first", ("conv3", "two")),
        Choice("first.two.1", ("conv1", "skip"), "first", ("two",)),
        Choice("block", ("conv3", "conv5", "skip")),
    )
    assert space.size() == 9
    assert space.kinds == {"2": ["first", "first.two.1"], "3": ["block"]}


def test_a_label_shares_one_row_and_counts_once_a_use() -> None:
    supernet = ModelSpace(Net).supernet((1, 8, 8), 3)
    assert {k: tuple(a.shape) for k, a in supernet.alphas.items()} == {"2": (2, 2), "3": (1, 3)}
    table = ModelSpace(Net).cost_tables((1, 8, 8), 3)["params"]
    assert table.exact and table.options["block"]["conv3"] == 2 * (4 * 4 * 9 + 8)
    assert table.options["block"]["skip"] == 0


def test_costs_that_depend_on_the_choice_around_them_are_exact() -> None:
    def block(c: int) -> nn.Module:
        kernels = OneOf({f"k{k}": nn.Conv1d(c, c, k, padding=k // 2) for k in (1, 3)}, "kernel")
        return nn.Sequential(nn.Conv1d(2, c, 1), kernels, nn.Conv1d(c, 2, 1), nn.Flatten())

    space = ModelSpace(lambda: OneOf({"small": block(2), "big": block(8)}))
    assert [c.name for c in space.choices] == ["model", "kernel"]
    table = space.cost_tables((2, 5), 10)["params"]
    assert table.exact and list(table.given) == ["kernel"]
    sizes = {a: count_params(space.build(a, (2, 5), 10)) for a in space}
    assert {a: table.cost(a) for a in sizes} == sizes
    limit = space.limit([f"params<={sorted(sizes.values())[1]}"], (2, 5), 10)
    assert {sizes[a] for a in space.sample(30, 0, limit)} == set(sorted(sizes.values())[:2])


def test_parameters_that_choices_share_make_a_lower_bound() -> None:
    def model() -> nn.Module:
        shared = nn.Linear(4, 4)
        return nn.Sequential(
            OneOf({"shared": shared, "skip": nn.Identity()}),
            OneOf({"shared": shared, "skip": nn.Identity()}),
        )

    space = ModelSpace(model)
    table = space.cost_tables((4,), 4)["params"]
    assert not table.exact
    assert [table.cost(a) for a in space] == [0, 0, 0, 0]
    # The limit asks the networks themselves, so that it is kept all the same.
    with refused("params<=19"):
        ModelSpace(lambda: nn.Sequential(model(), nn.Linear(4, 4))).limit(
            ["params<=19"], (4,), 4
        ).sample(1, np.random.default_rng(0))


def test_frozen_parameters_are_no_weights_and_cost_nothing() -> None:
    def model() -> nn.Module:
        net = Net()
        net.stem.requires_grad_(False)
        return net

    space = ModelSpace(model)
    supernet = space.supernet((1, 8, 8), 3)
    stem = set(supernet.body.stem.parameters())
    assert not stem & set(supernet.weight_parameters())
    architecture = space.sample(1)[0]
    network = space.build(architecture, (1, 8, 8), 3)
    cost = space.cost_tables((1, 8, 8), 3)["params"].cost(architecture)
    assert cost == count_params(network)


def test_one_module_in_two_places_is_one_choice() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a = OneOf({"linear": nn.Linear(4, 4), "tanh": nn.Tanh()})
            self.b = nn.Sequential(self.a, nn.Linear(4, 4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.b(self.a(x))

    space = ModelSpace(Twice)
    assert [c.name for c in space.choices] == ["a"]
    network = space.build(space.architecture({"a": "linear"}), (4,), 4)
    assert network.a is network.b[0] and isinstance(network.a, nn.Linear)
    table = space.cost_tables((4,), 4)["params"]
    assert [table.cost(a) for a in space] == [40, 20] and table.exact
