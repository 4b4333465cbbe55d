"""The contract tests that every zero-cost proxy inherits.

    class TestMine(ProxyContract):
        proxy = Mine

Needs the extra ``test``.
"""

import math
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from ..core import registry
from ..core.errors import UsageError
from ..core.space import SearchSpace
from ..evaluation.proxies.base import Proxy
from ..vision.mobilenet import mobilenet
from ..vision.spaces import darts, nasbench201

__all__ = ["ProxyContract", "batch"]

SHAPE = (3, 16, 16)
SPACES: dict[str, SearchSpace] = {
    "nasbench201": nasbench201(cells=1, channels=4),
    "darts": darts(cells=2, channels=4),
    "mobilenet": mobilenet(channels="8-8", strides="1-2", depths="1-2", stem=8, head=16),
}


def batch(samples: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images [samples, 3, 16, 16] and labels out of 3 classes."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn((samples, *SHAPE), generator=generator)
    return x, torch.arange(samples) % 3


class ProxyContract:
    """Base of a proxy's tests.

    Attributes:
        proxy: The class under test.
        reads_data: Whether the score depends on the batch's values.
        reads_weights: Whether it depends on the values of the weights.
    """

    proxy: ClassVar[type[Proxy]]
    reads_data: ClassVar[bool] = True
    reads_weights: ClassVar[bool] = True

    def _network(self, space: str = "nasbench201", seed: int = 0) -> nn.Module:
        torch.manual_seed(seed)
        # Draws of a seed whose output depends on the input.
        architecture = SPACES[space].sample(3, seed=1)[1]
        return SPACES[space].build(architecture, SHAPE, 3)

    def _score(self, network: nn.Module, **options: Any) -> float:
        x, y = options.pop("batch", None) or batch()
        return self.proxy()(network, x, y, nn.functional.cross_entropy, **options)

    def test_it_is_registered_under_its_name(self) -> None:
        assert registry.proxies.load(self.proxy.name) is self.proxy

    @pytest.mark.parametrize("space", SPACES)
    def test_every_space_gets_a_finite_score(self, space: str) -> None:
        value = self._score(self._network(space))
        assert isinstance(value, float) and math.isfinite(value)

    def test_the_network_and_the_generators_stay_bit_equal(self) -> None:
        network = self._network().eval()
        for i, parameter in enumerate(network.parameters()):
            parameter.grad = torch.full_like(parameter, float(i))
        before = {k: v.clone() for k, v in network.state_dict().items()}
        x, y = batch()
        kept, generators = x.clone(), torch.get_rng_state()
        self._score(network, batch=(x, y))
        after = network.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[k], before[k]) for k in before)
        assert torch.equal(x, kept) and not x.requires_grad
        assert torch.equal(torch.get_rng_state(), generators)
        for i, parameter in enumerate(network.parameters()):
            assert parameter.requires_grad and parameter.grad is not None
            assert bool((parameter.grad == i).all())
        for module in network.modules():
            assert not module.training
            assert not module._forward_hooks and not module._forward_pre_hooks

    def test_a_seed_gives_the_same_bits_whatever_ran_before(self) -> None:
        network = self._network()
        first = self._score(network, seed=3)
        torch.rand(5)
        with torch.no_grad():
            assert self._score(network.eval(), seed=3) == first

    def test_it_reads_what_it_says(self) -> None:
        scores = {self._score(self._network(seed=s), batch=batch(seed=0)) for s in range(3)}
        assert len(scores) == (3 if self.reads_weights else 1)
        network = self._network()
        scores = {self._score(network, batch=batch(seed=s)) for s in range(3)}
        assert len(scores) == (3 if self.reads_data else 1)

    def test_weights_that_are_not_finite_rank_last(self) -> None:
        network = self._network()
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.fill_(math.nan)
        value = self._score(network)
        assert not math.isnan(value) and (value == -math.inf) is self.reads_weights

    def test_bad_batches_are_named(self) -> None:
        network = self._network()
        x, y = batch()
        bad = x.clone()
        bad[0, 0, 0, 0] = math.nan
        for given, word in (
            ((x[:1], y[:1]), "two samples"),
            ((x, y[:3]), "8 and 3"),
            ((bad, y), "NaN"),
        ):
            with pytest.raises(UsageError, match=word) as error:
                self._score(network, batch=given)
            assert self.proxy.name in str(error.value)
