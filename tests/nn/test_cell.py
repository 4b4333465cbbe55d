"""Cells and the networks that stack them."""

import math

import pytest
import torch
from torch import nn

from nas_domains.nn.candidates import DARTS, NASBENCH201
from nas_domains.nn.cell import Cell, Design, ResidualReduction, darts_network, staged_network

FORMATS = {2: torch.channels_last, 3: torch.channels_last_3d}


class Double(nn.Module):
    def forward(self, x):
        return 2 * x


def one_edge(module, drop_path):
    cell = Cell(Design(1, 1, False), "cell", {(0, 1): module}, [nn.Identity()])
    cell.drop_path = drop_path
    return cell


def test_edges_of_a_design_stand_by_target_then_source():
    assert Design(1, 3, False).edges == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert Design(2, 4, True).edges[:5] == ((0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
    assert len(Design(2, 4, True).edges) == 14


def test_a_node_sums_its_edges_and_the_output_joins_all_nodes():
    edges = {(0, 2): nn.Identity(), (1, 2): Double(), (0, 3): Double(), (2, 3): nn.Identity()}
    cell = Cell(Design(2, 2, True), "normal", edges, [nn.Identity(), nn.Identity()])
    last, now = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    node = last + 2 * now
    assert torch.equal(cell(last, now), torch.cat([node, 2 * last + node], 1))


def test_drop_path_only_in_training():
    x = torch.ones(64, 1, 1, 1)
    cell = one_edge(Double(), 0.5)
    assert torch.equal(cell.eval()(x, x), 2 * x)
    assert not torch.equal(cell.train()(x, x), 2 * x)
    cell.drop_path = 0.0
    assert torch.equal(cell(x, x), 2 * x)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_drop_path_is_unbiased_and_drops_whole_samples(rate):
    torch.manual_seed(0)
    n = 40_000
    out = one_edge(Double(), rate).train()(None, torch.ones(n, 2, 1, 2))
    flat = out.flatten(1)
    assert (flat == flat[:, :1]).all(), "a sample is kept or dropped as a whole"
    values = flat[:, 0].unique()
    torch.testing.assert_close(values, torch.tensor([0.0, 2 / (1 - rate)]))
    # Five standard errors of a mean of n draws of 2/(1-rate) with probability 1-rate.
    error = 2 * math.sqrt(rate / (1 - rate) / n)
    assert abs(float(flat[:, 0].double().mean()) - 2) < 5 * error


def test_drop_path_keeps_the_identity_and_supernets():
    x = torch.ones(64, 1, 1, 1)
    assert torch.equal(one_edge(nn.Identity(), 0.9).train()(x, x), x)

    class Weighted(nn.Module):
        def forward(self, x, w):
            return w * x

    weights = {"cell": {(0, 1): torch.tensor(3.0)}}
    assert torch.equal(one_edge(Weighted(), 0.9).train()(x, x, weights), 3 * x)


def test_set_drop_path_reaches_every_cell():
    network = make_darts(cells=3)
    network.set_drop_path(0.25)
    assert [cell.drop_path for cell in network.cells] == [0.25] * 3


def make_darts(cells, dims=2, c_in=3, channels=2):
    design = Design(2, 4, True, dims)
    return darts_network(
        design,
        lambda kind, edge, c, stride: DARTS["skip_connect"](c, stride, True, dims),
        {kind: [(0, 2), (1, 2), (0, 3), (2, 3), (0, 4), (1, 4), (1, 5), (4, 5)]
         for kind in ("normal", "reduce")},
        c_in=c_in, channels=channels, cells=cells, outputs=3, affine=True,
    )  # fmt: skip


def make_staged(cells, dims=2, c_in=3, channels=2):
    design = Design(1, 3, False, dims)
    return staged_network(
        design,
        lambda kind, edge, c, stride: NASBENCH201["nor_conv_3x3"](c, stride, True, dims),
        {"cell": design.edges},
        c_in=c_in, channels=channels, cells=cells, outputs=3,
    )  # fmt: skip


REDUCTIONS = {1: [], 2: [1], 3: [1, 2], 4: [1, 2], 5: [1, 3], 6: [2, 4], 7: [2, 4], 8: [2, 5],
              9: [3, 6]}  # fmt: skip


@pytest.mark.parametrize("cells", range(1, 10))
def test_reductions_stand_at_thirds_and_never_first(cells):
    network = make_darts(cells)
    kinds = [cell.kind for cell in network.cells]
    assert [i for i, kind in enumerate(kinds) if kind == "reduce"] == REDUCTIONS[cells]
    sides = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _m, _x, out: sides.append(tuple(out.shape[1:])))
    assert network(torch.randn(2, 3, 13, 6)).shape == (2, 3)
    channels, height, width = 2, 13, 6
    for i, shape in enumerate(sides):
        if i in REDUCTIONS[cells]:
            channels, height, width = 2 * channels, math.ceil(height / 2), math.ceil(width / 2)
        assert shape == (4 * channels, height, width)
    assert network.classifier.in_features == 4 * channels


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_stages_have_equal_cells_and_reductions_between(cells):
    network = make_staged(cells)
    is_reduction = [isinstance(cell, ResidualReduction) for cell in network.cells]
    assert is_reduction == ([False] * cells + [True]) * 2 + [False] * cells
    sides = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _m, _x, out: sides.append(tuple(out.shape[1:])))
    network(torch.randn(2, 3, 13, 6))
    assert [sides[0], sides[cells], sides[-1]] == [(2, 13, 6), (4, 7, 3), (8, 4, 2)]


@pytest.mark.parametrize("dims", [1, 2, 3])
@pytest.mark.parametrize("make", [make_darts, make_staged])
@pytest.mark.parametrize("side", [1, 6, 7])
def test_networks_of_every_dimension(make, dims, side):
    network = make(2, dims=dims)
    x = torch.randn(3, 3, *(side,) * dims)
    assert network(x).shape == (3, 3)
    assert network.eval()(x).isfinite().all()


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("make", [make_darts, make_staged])
def test_channels_last_throughout(make, dims):
    """In 3 dimensions up to the stem: some of torch's own convolutions on the CPU leave it."""
    network = make(2, dims=dims, channels=4)
    for name, parameter in network.named_parameters():
        if parameter.dim() == dims + 2:
            assert parameter.is_contiguous(memory_format=FORMATS[dims]), name
    layouts = {}
    for name, module in network.named_modules():
        if (isinstance(module, Cell | ResidualReduction) and dims == 2) or name == "stem":
            module.register_forward_hook(
                lambda _m, _x, out, name=name: layouts.__setitem__(
                    name, out.is_contiguous(memory_format=FORMATS[dims])
                )
            )
    x = torch.randn(2, 3, *(6,) * dims)
    before = x.clone()
    out = network.eval()(x)
    assert layouts and all(layouts.values()), layouts
    assert x.is_contiguous() and torch.equal(x, before), "the input stays as it was"
    assert torch.equal(out, network(x.contiguous(memory_format=FORMATS[dims])))
