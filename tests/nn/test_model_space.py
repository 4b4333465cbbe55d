"""Spaces read off models: the shared contract, how networks start, and what is refused."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from nas_domains.hardware.cost import count_params
from nas_domains.nn.model_space import ModelSpace, space_of
from nas_domains.nn.one_of import OneOf
from nas_domains.testing.supernets import MixedSupernetContract
from nas_domains.vision.spaces import nasbench201
from tests.core.refusal import refused


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


class ModelContract(MixedSupernetContract):
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
