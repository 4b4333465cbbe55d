"""Spaces read off models: the shared contract, random models, and what is refused."""

import copy
import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from nas_domains.core.errors import UsageError
from nas_domains.core.space import Choice
from nas_domains.hardware.cost import count_params
from nas_domains.nn.model_space import ModelSpace, space_of
from nas_domains.nn.one_of import OneOf
from nas_domains.testing.spaces import SupernetContract
from nas_domains.vision.spaces import nasbench201
from tests.core.refusal import refused
from tests.make import one_sentence


def conv(c: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(c, c, kernel, padding=kernel // 2, bias=False), nn.BatchNorm2d(c), nn.GELU()
    )


class Net(nn.Module):
    """Two places, one with a place inside, and a label twice; for images [1, H, W]."""

    def __init__(self, c: int = 4, outputs: int = 3) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, c, 3, padding=1)
        inner = OneOf({"conv1": conv(c, 1), "skip": nn.Identity()})
        self.first = OneOf({"conv3": conv(c, 3), "two": nn.Sequential(conv(c, 1), inner)})
        self.blocks = nn.ModuleList(
            OneOf({"conv3": conv(c, 3), "conv5": conv(c, 5), "skip": nn.Identity()}, "block")
            for _ in range(2)
        )
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(c, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.stem(x))
        for block in self.blocks:
            x = block(x)
        return self.head(x)


class ModelContract(SupernetContract):
    def one_hot_strengths(self, space, architecture):
        strengths = {k: torch.zeros(len(names), int(k)) for k, names in space.kinds.items()}
        options = {choice.name: choice.options for choice in space.choices}
        for kind, names in space.kinds.items():
            for row, name in enumerate(names):
                if name in architecture:
                    strengths[kind][row, options[name].index(architecture[name])] = 1
        return strengths


class TestOfAFactory(ModelContract):
    input_shapes = ((1, 8, 8), (1, 5, 7))

    def make_space(self):
        return ModelSpace(Net)

    def other_space(self):
        return ModelSpace(lambda: Net(5))


class TestOfAModule(ModelContract):
    input_shapes = ((1, 8, 8), (1, 5, 7))

    def make_space(self):
        return ModelSpace(Net(), "mine")

    def other_space(self):
        return ModelSpace(Net(), "another")


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


def test_a_factory_draws_new_weights_and_a_module_is_reset() -> None:
    module = Net()
    before = copy.deepcopy(module.state_dict())
    for model in (Net, module):
        space = ModelSpace(model)
        architecture = space.sample(1)[0]
        built = []
        for seed in (0, 1, 0):
            torch.manual_seed(seed)
            built.append(space.build(architecture, (1, 8, 8), 3).stem.weight)
        assert torch.equal(built[0], built[2]) and not torch.equal(built[0], built[1])
        assert not torch.equal(built[0], before["stem.weight"])
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not any(m.choice for m in module.modules() if isinstance(m, OneOf)), "left as it was"


def test_reading_a_model_draws_no_random_number() -> None:
    torch.manual_seed(5)
    expected = torch.randn(3)
    torch.manual_seed(5)
    ModelSpace(Net).cost_tables((1, 8, 8), 3)
    assert torch.equal(torch.randn(3), expected)


def test_lazy_modules_get_their_shapes_from_the_task() -> None:
    def model() -> nn.Module:
        mix = OneOf({"a": nn.LazyLinear(6), "b": nn.Sequential(nn.LazyLinear(6), nn.Tanh())})
        return nn.Sequential(nn.Flatten(), mix, nn.LazyLinear(3))

    for given_ in (model, model()):
        space = ModelSpace(given_)
        supernet = space.supernet((2, 5), 3)
        assert supernet.extract(space.sample(1)[0])(torch.randn(4, 2, 5)).shape == (4, 3)
        table = space.cost_tables((2, 5), 3)["params"]
        for architecture in space:
            network = space.build(architecture, (2, 5), 3)
            assert count_params(network) == table.cost(architecture) == 66 + 21


def test_the_relaxation_is_called_on_each_parameter() -> None:
    supernet = ModelSpace(Net).supernet((1, 8, 8), 3)
    seen = []

    def doubled(alpha: torch.Tensor) -> torch.Tensor:
        seen.append(alpha)
        return 2 * torch.softmax(alpha, -1)

    plain = supernet.strengths()
    supernet.relaxation = doubled
    assert all(torch.equal(s, 2 * plain[k]) for k, s in supernet.strengths().items())
    seen.clear()
    supernet(torch.randn(2, 1, 8, 8))
    assert [id(a) for a in seen] == [id(a) for a in supernet.alphas.values()]


def test_supernets_are_copied_pickled_and_restored() -> None:
    torch.manual_seed(0)
    space = ModelSpace(Net)
    supernet = space.supernet((1, 8, 8), 3)
    x = torch.randn(2, 1, 8, 8)
    y = supernet.eval()(x)
    file = io.BytesIO()
    torch.save(supernet, file)
    file.seek(0)
    restored = space.supernet((1, 8, 8), 3)
    restored.load_state_dict(supernet.state_dict())
    for other in (copy.deepcopy(supernet), torch.load(file, weights_only=False), restored):
        assert torch.equal(other.eval()(x), y)
        other.set_architecture(space.sample(1)[0])
        other(x)
        assert torch.equal(supernet(x), y), "a copy shares no OneOf"


def test_functional_call_reaches_the_architecture_parameters() -> None:
    supernet = ModelSpace(Net).supernet((1, 8, 8), 3).eval()
    x = torch.randn(2, 1, 8, 8)
    alphas = {f"alphas.{k}": torch.randn_like(a) for k, a in supernet.alphas.items()}
    found = functional_call(supernet, alphas, (x,))
    for kind, alpha in supernet.alphas.items():
        alpha.data.copy_(alphas[f"alphas.{kind}"])
    assert torch.equal(found, supernet(x))


class Recomputed(Net):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(super().forward, x, use_reentrant=False)


def test_recomputed_activations_have_the_same_weights() -> None:
    x = torch.randn(2, 1, 8, 8)
    gradients = []
    for model in (Net, Recomputed):
        torch.manual_seed(0)
        supernet = ModelSpace(model).supernet((1, 8, 8), 3)
        for alpha in supernet.alphas.values():
            nn.init.normal_(alpha)
        supernet(x).sum().backward()
        gradients.append([a.grad for a in supernet.alphas.values()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))


def test_parameter_free_is_of_choices_that_could_have_some() -> None:
    def model() -> nn.Module:
        return nn.Sequential(
            OneOf({"linear": nn.Linear(4, 4), "skip": nn.Identity()}, "a"),
            OneOf({"linear": nn.Linear(4, 4), "skip": nn.Identity()}, "b"),
            OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}, "c"),
        )

    space = ModelSpace(model)
    shares = {(a["a"], a["b"]): space.parameter_free(a) for a in space if a["c"] == "relu"}
    assert shares == {
        ("linear", "linear"): 0.0,
        ("linear", "skip"): 0.5,
        ("skip", "linear"): 0.5,
        ("skip", "skip"): 1.0,
    }
    activations = ModelSpace(lambda: OneOf({"relu": nn.ReLU(), "tanh": nn.Tanh()}))
    assert activations.parameter_free(activations.sample(1)[0]) == 0.0


def test_an_architecture_of_another_space_is_refused() -> None:
    space = ModelSpace(Net)
    supernet = space.supernet((1, 8, 8), 3)
    other = nasbench201(1, 2).sample(1)[0]
    for call in (
        lambda: space.build(other, (1, 8, 8), 3),
        lambda: supernet.set_architecture(other),
        lambda: supernet.extract(other),
    ):
        with refused("first"):
            call()


def test_a_space_of_a_space_is_itself() -> None:
    space = ModelSpace(Net)
    assert space_of(space) is space
    assert space_of(Net).fingerprint == space.fingerprint == space_of(Net()).fingerprint


class Hidden(nn.Module):
    """Holds a OneOf in a list too, and calls it there."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = OneOf({"a": nn.Linear(4, 4), "b": nn.Tanh()})
        self.layers = [self.mix]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers[0](x)


class Unused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix = OneOf({"a": nn.Linear(4, 4), "b": nn.Tanh()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mix.candidates["a"](x)


def ab(*labels: str | None, **inner: nn.Module) -> nn.Module:
    modules = {"a": nn.Linear(4, 4), "b": nn.Tanh()} | inner
    return nn.Sequential(*(OneOf(modules, label) for label in labels))


def across() -> nn.Module:
    return nn.Sequential(ab("p", a=ab("x")), ab("q", a=ab("x")))


SAME = ab("x")
COUNT = iter(range(99))
BAD = [
    (3, ["3", "nn.Module"]),
    (None, ["None"]),
    (nn.Linear, ["Linear", "in_features", "lambda"]),
    (lambda: 3, ["int"]),
    (nn.Linear(4, 4), ["'Linear'", "OneOf"]),
    (lambda: nn.Sequential(ab("x"), OneOf({"a": nn.Tanh(), "c": nn.Tanh()}, "x")), ["'x'", "c"]),
    (
        lambda: nn.Sequential(ab("x"), OneOf({"b": nn.Tanh(), "a": nn.Tanh()}, "x")),
        ["'x'", "b, a"],
    ),
    (lambda: nn.Sequential(ab(None), ab("0.0")), ["'0.0'", "label"]),
    (lambda: ab("x", a=ab("x")), ["'x'", "another"]),
    (across, ["'x'", "p=a", "q=a"]),
    (lambda: nn.Sequential(nn.Tanh(), ab("x"), nn.Linear(4, 5)), ["(2, 5)", "(2, 4)"]),
    (lambda: nn.Sequential(ab("x"), nn.Linear(5, 4)), ["'Sequential'", "(4,)"]),
    (Hidden, ["'mix'", "list"]),
    (lambda: SAME, ["before"]),
    (lambda: ab(*["x", "y", "z"][: 1 + next(COUNT) % 2]), ["other OneOfs"]),
]


@pytest.mark.parametrize(("model", "named"), BAD)
def test_bad_models_are_one_sentence(model: Any, named: list[str]) -> None:
    with refused(*named):
        space = ModelSpace(model)
        space.build(space.sample(1)[0], (4,), 4)


@pytest.mark.parametrize(
    ("model", "named"),
    [
        (lambda: ab("x", b=nn.Linear(4, 5)), ["'x'", "(2, 5)", "(2, 4)"]),
        (lambda: ab(None, b=nn.ReLU(inplace=True)), ["'0'", "inplace"]),
        (Unused, ["'mix'", "never"]),
    ],
    ids=["shapes", "in place", "unused"],
)
def test_models_without_a_supernet_are_one_sentence(model: Any, named: list[str]) -> None:
    with refused(*named):
        ModelSpace(model).supernet((4,), 4)
