"""Supernets of models: their relaxation, copies, and passes that are run again."""

import copy
import io

import torch
from torch import nn
from torch.func import functional_call
from torch.utils.checkpoint import checkpoint

from nas_domains.nn.model_space import ModelSpace
from nas_domains.nn.relaxation import Softmax
from tests.nn.test_model_space import Net


class _Doubled(Softmax):
    """Twice the softmax, which notes what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def expected(self, parameters: torch.Tensor) -> torch.Tensor:
        self.seen.append(parameters)
        return 2 * super().expected(parameters)


def test_the_relaxation_is_called_on_each_parameter() -> None:
    supernet = ModelSpace(Net).supernet((1, 8, 8), 3)
    plain = supernet.strengths()
    supernet.relaxation = relaxation = _Doubled()
    assert all(torch.equal(s, 2 * plain[k]) for k, s in supernet.strengths().items())
    relaxation.seen.clear()
    supernet(torch.randn(2, 1, 8, 8))
    alphas = list(supernet.alphas.values())
    assert all(torch.equal(a, b) for a, b in zip(relaxation.seen, alphas, strict=True))


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
