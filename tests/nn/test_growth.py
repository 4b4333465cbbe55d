"""Growing partial channels keeps what has been learnt."""

import pytest
import torch

from nas_domains.nn.candidates import DARTS
from nas_domains.nn.growth import embedded, grow
from nas_domains.nn.mixed import MixedOp
from nas_domains.vision.spaces import darts


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [1, 2, 3])
def test_the_first_channels_go_on_as_they_were(stride: int, dims: int) -> None:
    torch.manual_seed(0)
    network = torch.nn.ModuleDict({"edge": MixedOp(DARTS, 8, stride, dims, partial=4)}).double()
    narrow = network["edge"]
    x = torch.randn(2, 8, *(6,) * dims, dtype=torch.float64)
    narrow(x, torch.ones(8, dtype=torch.float64) / 8)  # moves the running statistics
    replaced = grow(network.eval(), 2)
    wide = network["edge"]
    assert isinstance(wide, MixedOp) and wide.partial == 2 and wide.share == 4
    assert not wide.training and next(wide.parameters()).dtype == torch.float64
    assert set(replaced) == set(narrow.parameters())
    assert list(replaced.values()) == list(wide.parameters())
    for name, old in narrow.candidates.items():
        if name == "skip_connect" and stride == 2:
            continue  # its two halves each grow, so their outputs lie elsewhere
        a, b = old(x[:, :2]), wide.candidates[name](x[:, :4])
        torch.testing.assert_close(b[:, :2], a, msg=name)


def test_only_larger_shares_are_made() -> None:
    network = torch.nn.ModuleDict({"edge": MixedOp(DARTS, 8, 1, 2, partial=2)})
    before = network["edge"]
    assert grow(network, 2) == {} and grow(network, 4) == {} and network["edge"] is before


def test_a_supernet_grows_to_all_channels() -> None:
    supernet = darts(cells=2, channels=4).supernet((1, 8, 8), 3, partial=4)
    grow(supernet, 1)
    assert {edge.partial for edge in supernet.mixed_operations()} == {1}
    supernet(torch.randn(2, 1, 8, 8)).sum().backward()
    assert all(e.fused is not None for e in supernet.mixed_operations())


def test_new_inputs_are_not_heard() -> None:
    found = embedded(torch.ones(1, 1, 3), torch.full((2, 2, 3), 5.0))
    assert found[0, 0].eq(1).all() and found[0, 1].eq(0).all() and found[1].eq(5).all()
    assert embedded(torch.ones(2), torch.zeros(3)).tolist() == [1, 1, 0]
