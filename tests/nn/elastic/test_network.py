"""A supernet of elastic layers, on a body that is no network of ours."""

import pytest
import torch
from torch import nn

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.nn.elastic.base import Elastic
from nas_domains.nn.elastic.conv import ElasticConv
from nas_domains.nn.elastic.depth import ElasticDepth
from nas_domains.nn.elastic.linear import ElasticLinear
from nas_domains.nn.elastic.network import ElasticNetwork
from nas_domains.nn.elastic.norm import ElasticNorm

SPACE = SearchSpace(
    "tiny", [Choice("width", (1, 3, 5)), Choice("kernel", (1, 3)), Choice("depth", (0, 1, 2))]
)


def sizes(architecture):
    width, kernel = architecture["width"], architecture["kernel"]
    return {
        "0": {"c_out": width, "kernel": kernel},
        "1": {"channels": width},
        "2": {"depth": architecture["depth"]},
        "2.whole.0": {"c_in": width, "c_out": width, "kernel": kernel},
        "2.whole.1": {"c_in": width, "c_out": width},
        "5": {"c_in": width},
    }


@pytest.fixture
def supernet():
    torch.manual_seed(0)
    body = nn.Sequential(
        ElasticConv(2, 5, 3, dims=1),
        ElasticNorm(5, dims=1),
        ElasticDepth(
            [ElasticConv(5, 5, 3, depthwise=True, dims=1), ElasticConv(5, 5, 1, dims=1)], least=0
        ),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        ElasticLinear(5, 3),
    )
    return ElasticNetwork(body, sizes)


def test_every_architecture_is_a_plain_network(supernet):
    x = torch.randn(4, 2, 7)
    for architecture in SPACE:
        network = supernet.extract(architecture)
        assert not any(isinstance(m, Elastic) for m in network.modules())
        assert len(network[2]) == architecture["depth"]
        supernet.set_architecture(architecture)
        for training in (True, False):
            assert torch.equal(supernet.train(training)(x), network.train(training)(x))


def test_extracted_networks_have_the_mode_and_type_of_the_supernet(supernet):
    architecture = SPACE.sample(1)[0]
    assert supernet.extract(architecture).training
    network = supernet.eval().double().extract(architecture)
    assert not any(m.training for m in network.modules())
    assert {p.dtype for p in network.parameters()} == {torch.float64}


def test_none_is_the_largest(supernet):
    x = torch.randn(4, 2, 7)
    supernet.eval()
    before = supernet(x)
    for architecture in SPACE.sample(3):
        supernet.set_architecture(architecture)
        supernet.set_architecture(None)
        assert torch.equal(supernet(x), before)
    largest = SPACE.architecture({"width": 5, "kernel": 3, "depth": 2})
    assert torch.equal(supernet.extract(largest)(x), before)


def test_a_path_is_no_state(supernet):
    """What a checkpoint keeps does not depend on the path of the last step."""
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    supernet.set_architecture(SPACE.sample(1)[0])
    for name, value in supernet.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_all_parameters_are_weights(supernet):
    assert supernet.architecture_parameters() == []
    assert list(map(id, supernet.weight_parameters())) == list(map(id, supernet.parameters()))
    small = SPACE.architecture({"width": 1, "kernel": 1, "depth": 0})
    supernet.set_architecture(small)
    supernet(torch.randn(4, 2, 7)).sum().backward()
    unused = [name for name, p in supernet.named_parameters() if p.grad is None]
    assert unused == ["body.2.whole.0.whole.weight", "body.2.whole.1.whole.weight"]


def test_a_step_on_a_path_moves_its_weights_alone(supernet):
    optimizer = torch.optim.SGD(supernet.weight_parameters(), lr=0.1)
    before = {name: p.detach().clone() for name, p in supernet.named_parameters()}
    supernet.set_architecture(SPACE.architecture({"width": 3, "kernel": 1, "depth": 1}))
    supernet(torch.randn(4, 2, 7)).square().sum().backward()
    optimizer.step()
    first, weight = before["body.0.whole.weight"], supernet.body[0].whole.weight.detach()
    moved = first != weight
    assert moved[:3, :, 1:2].all() and moved.sum() == 3 * 2
