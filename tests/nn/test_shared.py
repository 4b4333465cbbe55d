"""One set of tensors for networks of ordinary layers: what is shared, what moves, what is kept."""

import copy

import torch
from torch import nn

from nas_domains.core.space import Choice, SearchSpace
from nas_domains.nn.shared import SharedNetwork


class Nets(SearchSpace):
    """A convolution of a width and a kernel, with batch norm, in one of two groups."""

    def __init__(self):
        choices = [Choice("width", (2, 4)), Choice("kernel", (1, 3)), Choice("kind", ("a", "b"))]
        super().__init__("nets", choices, {})

    def build(self, architecture, input_shape=(3, 8, 8), outputs=2):
        width, kernel = architecture["width"], architecture["kernel"]
        return nn.Sequential(
            nn.Conv2d(3, width, kernel, padding=kernel // 2),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, outputs, 1),
        )


SPACE = Nets()


def make():
    torch.manual_seed(0)
    covering = [of(4, 3, kind) for kind in "ab"]
    return SharedNetwork(SPACE.build, covering, lambda architecture: architecture["kind"])


def of(width, kernel, kind="a"):
    return SPACE.architecture({"width": width, "kernel": kernel, "kind": kind})


def test_a_smaller_network_has_the_first_channels_and_the_centre_of_the_kernel():
    network = make()
    large, small = network.extract(of(4, 3)), network.extract(of(2, 1))
    assert torch.equal(small[0].weight, large[0].weight[:2, :, 1:2, 1:2])
    assert torch.equal(small[3].weight, large[3].weight[:, :2])
    assert not torch.equal(network.extract(of(4, 3, "b"))[0].weight, large[0].weight)


def test_a_step_of_a_path_moves_its_part_alone():
    network = make()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.set_architecture(of(2, 1))
    optimizer = torch.optim.SGD(network.weight_parameters(), lr=0.1)
    network.train()(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    moved = {
        name: (value != before[name]).nonzero().tolist()
        for name, value in network.state_dict().items()
    }
    assert all(not moved[name] for name in moved if "b/" in name)
    assert {tuple(at) for at in moved["shared.a/0/weight"]} == {
        (o, i, 1, 1) for o in range(2) for i in range(3)
    }
    assert moved["shared.a/1/running_mean"] == [[0], [1]], "statistics of its own channels"
    assert moved["shared.a/1/num_batches_tracked"]


def test_statistics_stay_views_after_loading_moving_and_copying():
    network = make()
    state = {name: value.clone() + 1 for name, value in network.state_dict().items()}
    network.load_state_dict(state)
    x = torch.randn(4, 3, 8, 8)
    for changed in (network, copy.deepcopy(network), network.double()):
        mean = getattr(changed.shared, "a/1/running_mean")
        before = mean.clone()
        changed.train()(x.to(mean.dtype))
        assert (mean != before).all(), "the running statistics of the body are others"
        changed.eval()
        plain = changed.extract(of(4, 3)).to(mean.dtype)
        torch.testing.assert_close(changed(x.to(mean.dtype)), plain(x.to(mean.dtype)))
    assert set(network.state_dict()) == set(state)


def test_it_loads_inside_another_module():
    outer = nn.Sequential(make())
    state = {name: value.clone() + 1 for name, value in outer.state_dict().items()}
    outer.load_state_dict(state)
    mean = getattr(outer[0].shared, "a/1/running_mean")
    before = mean.clone()
    outer.train()(torch.randn(4, 3, 8, 8))
    assert (mean != before).all()


def test_what_no_covering_network_has_whole_is_enlarged():
    covering = [of(2, 3), of(4, 1)]
    network = SharedNetwork(SPACE.build, covering)
    assert getattr(network.shared, "all/0/weight").shape == (4, 3, 3, 3)
    assert network.extract(of(4, 3))[0].weight.shape == (4, 3, 3, 3)
    assert getattr(network.shared, "all/0/weight").std() > 0
