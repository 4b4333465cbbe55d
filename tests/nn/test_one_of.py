"""OneOf by itself: what it runs, what it refuses, and how it is copied."""

import copy
import io

import pytest
import torch
from torch import nn

from nas_domains.nn.one_of import OneOf
from tests.core.refusal import refused


def one_of(**options) -> OneOf:
    torch.manual_seed(0)
    return OneOf({"a": nn.Linear(4, 4), "b": nn.Tanh(), "c": nn.Identity()}, **options)


@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4), (2, 1, 3, 4), (1, 2, 3, 2, 4), (4,)])
def test_it_sums_tensors_of_any_dimensions(shape: tuple[int, ...]) -> None:
    one, x = one_of().double(), torch.randn(shape, dtype=torch.float64)
    one.weights = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64, requires_grad=True)
    expected = sum(w * m(x) for w, m in zip(one.weights, one.candidates.values(), strict=True))
    y = one(x)
    torch.testing.assert_close(y, expected)
    (gradient,) = torch.autograd.grad(y.sum(), one.weights)
    each = torch.stack([m(x).sum() for m in one.candidates.values()])
    torch.testing.assert_close(gradient, each)


def test_gradients_of_weights_and_inputs_are_those_of_differences() -> None:
    one = one_of().double()
    x = torch.randn(2, 4, dtype=torch.float64, requires_grad=True)
    w = torch.randn(3, dtype=torch.float64, requires_grad=True)

    def run(x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        one.weights = w
        return one(x)

    assert torch.autograd.gradcheck(run, (x, w))


def test_an_index_runs_one_candidate_alone() -> None:
    one, x = one_of(), torch.randn(2, 4)
    calls = [0, 0, 0]
    for k, module in enumerate(one.candidates.values()):
        module.register_forward_hook(lambda *_, k=k: calls.__setitem__(k, calls[k] + 1))
    one.weights = 1
    assert torch.equal(one(x), x.tanh())
    assert calls == [0, 1, 0]


def test_outside_a_supernet_weights_are_equal() -> None:
    one, x = one_of(), torch.randn(2, 4)
    expected = torch.stack([m(x) for m in one.candidates.values()]).mean(0)
    torch.testing.assert_close(one(x), expected)


def test_an_index_lets_any_arguments_and_results_through() -> None:
    class Pair(nn.Module):
        def forward(self, x, *, scale):
            return x * scale, scale

    one = OneOf({"pair": Pair(), "same": nn.Identity()})
    one.weights = 0
    assert one(torch.ones(1), scale=3) == (torch.tensor([3.0]), 3)


def test_several_inputs_are_summed() -> None:
    one = OneOf({"first": nn.Bilinear(3, 3, 2), "second": nn.Bilinear(3, 3, 2)})
    a, b = torch.randn(4, 3), torch.randn(4, 3)
    expected = (one.candidates["first"](a, b) + one.candidates["second"](a, b)) / 2
    torch.testing.assert_close(one(a, b), expected)


def test_copies_and_pickles_leave_the_weights_of_a_pass_behind() -> None:
    one, x = one_of(label="mix"), torch.randn(2, 4)
    one.weights = torch.softmax(nn.Parameter(torch.zeros(3)), 0)
    file = io.BytesIO()
    torch.save(one, file)
    file.seek(0)
    for other in (copy.deepcopy(one), torch.load(file, weights_only=False)):
        assert other.weights is None and other.label == "mix" and other.choice == one.choice
        torch.testing.assert_close(other(x), one(x))
    assert one.weights is not None, "copying changes nothing"


def test_the_state_is_that_of_the_candidates() -> None:
    one, other = one_of(), one_of()
    nn.init.zeros_(other.candidates["a"].weight)
    one.weights = torch.ones(3)
    assert list(one.state_dict()) == ["candidates.a.weight", "candidates.a.bias"]
    other.load_state_dict(one.state_dict())
    assert torch.equal(other.candidates["a"].weight, one.candidates["a"].weight)


def test_autocast_mixes_types() -> None:
    one, x = one_of(), torch.randn(2, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert one.candidates["a"](x).dtype == torch.bfloat16
        y = one(x)
    torch.testing.assert_close(y, one(x), atol=0.02, rtol=0.02)


def test_inference_mode_works() -> None:
    one = one_of()
    with torch.inference_mode():
        assert one(torch.randn(2, 4)).shape == (2, 4)


A = nn.Identity()
BAD = [
    ({}, None, ["OneOf", "not empty"]),
    ([], None, ["OneOf", "dictionary"]),
    (None, "mix", ["'mix'"]),
    ({"a": A}, "", ["label ''"]),
    ({"a": A}, 3, ["label 3"]),
    ({"conv.3": A}, "mix", ["'conv.3'", "'mix'", "dots"]),
    ({"": A}, None, ["''"]),
    ({"a": A, 3: A}, None, ["3", "of a"]),
    ({"keys": A}, None, ["'keys'"]),
    ({"a": A, "b": nn.ReLU}, "mix", ["'b'", "'mix'", "nn.Module"]),
    ({"a": torch.relu}, None, ["'a'", "nn.Module"]),
    ({"a": None}, None, ["'a'", "None"]),
]


@pytest.mark.parametrize(("candidates", "label", "named"), BAD, ids=lambda v: repr(v)[:40])
def test_bad_candidates_are_one_sentence(candidates, label, named) -> None:
    with refused(*named):
        OneOf(candidates, label)


class Gives(nn.Module):
    """Gives the same whatever it is given."""

    def __init__(self, value):
        super().__init__()
        self.value = value

    def forward(self, x):
        return self.value


@pytest.mark.parametrize(
    ("modules", "named"),
    [
        ({"a": A, "b": nn.Linear(4, 5)}, ["'mix'", "'a' gives (2, 4)", "'b' (2, 5)"]),
        ({"a": A, "b": nn.Flatten(0)}, ["'mix'", "(8,)"]),
        ({"a": A, "b": Gives((1, 2))}, ["'mix'", "'b'", "tuple"]),
        ({"a": Gives(None), "b": A}, ["'mix'", "'a'", "NoneType"]),
        ({"a": Gives(torch.tensor([1]))}, ["'mix'", "'a'", "int64"]),
        ({"a": nn.ReLU(inplace=True), "b": A}, ["'mix'", "'a'", "inplace=False"]),
        ({"a": A, "b": nn.Sequential(nn.Tanh(), nn.ReLU(inplace=True))}, None),
    ],
    ids=["shape", "dimensions", "tuple", "none", "whole numbers", "in place", "inner in place"],
)
def test_outputs_that_do_not_add_up_are_one_sentence(modules, named) -> None:
    one = OneOf(modules, "mix")
    if named is None:
        one(torch.randn(2, 4))
        return
    with refused(*named):
        one(torch.randn(2, 4))
