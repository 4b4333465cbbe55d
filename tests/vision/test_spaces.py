"""The cell spaces of vision: the shared contract, and what their papers and table say of them."""

import numpy as np
import pytest
import torch

import nas_domains.vision  # noqa: F401
from nas_domains.core.space_text import load_space
from nas_domains.hardware.cost import count_macs, count_params
from nas_domains.testing.supernets import MixedSupernetContract
from nas_domains.vision.spaces import darts, nasbench201
from tests.conftest import SHARED, needs_shared
from tests.core.refusal import refused


class TestDarts(MixedSupernetContract):
    input_shapes = ((3, 9, 7), (1, 8, 8), (2, 5, 1))
    samples = 30

    def make_space(self):
        return darts(cells=2, channels=4)

    def other_space(self):
        return darts(cells=2, channels=5)


class TestDartsDeeper(MixedSupernetContract):
    """Another depth for the network than for its supernet."""

    input_shapes = ((1, 7, 7),)
    samples = 10
    networks = 2

    def make_space(self):
        return darts(cells=4, channels=2, supernet_cells=3, supernet_channels=3)

    def other_space(self):
        return darts(cells=4, channels=2, supernet_cells=3)


class TestNasBench201(MixedSupernetContract):
    input_shapes = ((3, 9, 7), (1, 8, 8), (2, 5, 1))
    networks = 8

    def make_space(self):
        return nasbench201(cells=1, channels=4)

    def other_space(self):
        return nasbench201(cells=2, channels=4)

    def connected(self, architecture):
        return "none" not in architecture.values()


def test_sizes_are_those_of_the_papers():
    assert darts().size() == (7**8 * 180) ** 2 == 1_076_746_950_455_072_400
    assert nasbench201().size() == 5**6
    assert len(set(nasbench201())) == 5**6


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("darts:cells=0", ("cells=0", "darts")),
        ("darts:cells=1", ("cells=1",)),
        ("darts:supernet_cells=1", ("supernet_cells=1",)),
        ("darts:cells=-4", ("cells=-4",)),
        ("darts:cells=x", ("cells='x'",)),
        ("darts:channels=1.5", ("channels=1.5",)),
        ("darts:channels=true", ("channels=True",)),
        ("darts:channels=inf", ("channels=inf",)),
        ("darts:cells", ("'cells'", "NAME=VALUE")),
        ("darts:cells=", ("'cells='", "NAME=VALUE")),
        ("darts:cells=2,cells=3", ("'cells=3'",)),
        ("darts:cell=4", ("'cell'", "cells, channels")),
        ("nasbench201:channels=0", ("channels=0",)),
        ("nasbench201:supernet_channels=0", ("supernet_channels=0",)),
        ("dart", ("'dart'", "did you mean 'darts'")),
        ("", ("''", "darts", "mobilenet, nasbench201")),
    ],
)
def test_bad_sizes_are_refused(text, names):
    with refused(*names):
        load_space(text)


@pytest.mark.parametrize("shape", [(), (3,), (3, 8), (3, 8, 8, 8), (0, 8, 8), (3, 0, 8)])
@pytest.mark.parametrize("space", [darts(2, 2), nasbench201(1, 2)], ids=lambda s: s.name)
def test_inputs_of_other_dimensions_are_refused(space, shape):
    with refused(shape, space.name):
        space.build(space.sample(1)[0], shape, 2)
    with refused(shape, space.name):
        space.supernet(shape, 2)


def test_sizes_of_text_reach_the_network():
    space = load_space("nasbench201:cells=2,channels=6")
    network = space.build(space.sample(1)[0], (1, 8, 8), 5)
    assert network.stem[0].out_channels == 6
    assert len(network.cells) == 3 * 2 + 2
    assert network.classifier.weight.shape == (5, 24)


def test_supernet_sizes_are_its_own():
    space = darts(cells=6, channels=8, supernet_cells=3, supernet_channels=4)
    supernet = space.supernet((1, 8, 8), 2)
    assert len(supernet.body.cells) == 3
    assert len(space.build(space.sample(1)[0], (1, 8, 8), 2).cells) == 6
    assert supernet.extract(space.sample(1)[0]).stem[0].out_channels == 3 * 4


def table_cell(space, table, row):
    choices = {}
    for edge, operation in zip(table["edges"], table["arch"][row], strict=True):
        target, source = str(edge).split("<-")
        choices[f"{source}->{target}"] = str(table["ops"][operation])
    return space.architecture(choices)


@pytest.fixture(scope="module")
def table():
    return dict(np.load(SHARED / "data" / "nasbench201" / "table.npz"))


COLUMNS = [(0, 10), (1, 100)]
"""(column, classes) of CIFAR-10 and CIFAR-100 in the table."""


@needs_shared
def test_parameters_are_the_published_ones(table):
    space = nasbench201()
    rows = np.random.default_rng(0).choice(len(table["arch"]), 200, replace=False)
    for number, row in enumerate(rows):
        column, classes = COLUMNS[number % 2]
        network = space.build(table_cell(space, table, row), (3, 32, 32), classes)
        published = round(float(table["params_M"][row, column]) * 1e6)
        assert count_params(network) == published, row
        # The other column differs in the classifier alone: 90 more classes of 64 weights and 1.
        other = round(float(table["params_M"][row, 1 - column]) * 1e6)
        assert other - published == (1 if column == 0 else -1) * 90 * 65


@needs_shared
def test_operations_differ_from_the_published_ones_by_their_definition(table):
    """The benchmark counts more than the products of convolutions, which are what we count.

    It adds, an element of a feature map, 3 for the norm and activation of a convolution and 9 for
    a pooling window; and a constant for what all cells share. So against the cell of `none` alone
    the rest must agree to the rounding of two float32 below 256 million: 2 x 7.6 operations.
    """
    space = nasbench201()
    elements = 5 * (16 * 32 * 32 + 32 * 16 * 16 + 64 * 8 * 8)
    operations = [str(name) for name in table["ops"]]
    empty = int(np.flatnonzero((table["arch"] == operations.index("none")).all(1))[0])
    rows = np.random.default_rng(1).choice(len(table["arch"]), 5, replace=False)
    for column, classes in COLUMNS:

        def ours_and_published(row, column=column, classes=classes):
            cell = table_cell(space, table, row)
            macs = count_macs(space.build(cell, (3, 32, 32), classes), (3, 32, 32))
            names = list(cell.values())
            convolutions = names.count("nor_conv_1x1") + names.count("nor_conv_3x3")
            extra = elements * (3 * convolutions + 9 * names.count("avg_pool_3x3"))
            return macs + extra, float(table["mflops"][row, column]) * 1e6

        ours, published = ours_and_published(empty)
        constant = published - ours
        for row in rows:
            ours, published = ours_and_published(row)
            assert abs(published - ours - constant) < 16, row


def test_arch_str_is_the_benchmarks_form():
    space = nasbench201()
    text = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    cell = space.from_arch_str(text)
    assert dict(cell) == {
        "0->1": "nor_conv_3x3",
        "0->2": "none",
        "1->2": "skip_connect",
        "0->3": "avg_pool_3x3",
        "1->3": "nor_conv_1x1",
        "2->3": "none",
    }
    assert space.arch_str(cell) == text


def test_parameter_free_is_the_share_of_edges_without_parameters():
    space = nasbench201()
    text = "|skip_connect~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|nor_conv_1x1~1|none~2|"
    assert space.parameter_free(space.from_arch_str(text)) == 5 / 6
    space = darts(2, 2)
    skips = {c.name: "skip_connect" for c in space.choices if not c.name.endswith("inputs")}
    pairs = {c.name: "0,1" for c in space.choices if c.name.endswith("inputs")}
    assert space.parameter_free(space.architecture(skips | pairs)) == 1
    assert (
        space.parameter_free(
            space.architecture(skips | pairs | {"normal.2.first": "sep_conv_3x3"})
        )
        == 15 / 16
    )


def test_arch_str_round_trip():
    space = nasbench201()
    texts = {space.arch_str(cell) for cell in space}
    assert len(texts) == space.size()
    for cell in space.sample(50):
        assert space.from_arch_str(space.arch_str(cell)) == cell


EMPTY = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "none",
        "|none~0|",
        EMPTY + "+|none~0|none~1|none~2|none~3|",
        EMPTY + "x",
        EMPTY.replace("~1", "~2"),
        EMPTY.replace("none~0|", "none~0|none~0|", 1),
        EMPTY.replace("none~0", "conv_7x7~0", 1),
        EMPTY.replace("|+|", "|+", 1),
        " " + EMPTY,
    ],
)
def test_other_forms_of_arch_str_are_refused(text):
    with refused():
        nasbench201().from_arch_str(text)


def test_a_cell_without_a_way_through_still_scores():
    space = nasbench201(cells=1, channels=4)
    network = space.build(space.from_arch_str(EMPTY), (3, 8, 8), 3).eval()
    scores = network(torch.randn(2, 3, 8, 8))
    assert torch.equal(scores[0], scores[1]), "no input can reach the output"


def test_paths_of_a_cell_are_its_ways_from_input_to_output():
    space = nasbench201()
    cell = space.from_arch_str(
        "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|avg_pool_3x3~0|none~1|nor_conv_1x1~2|"
    )
    assert space.paths(cell) == sorted(
        ["cell:0:avg_pool_3x3>", "cell:0:nor_conv_3x3>skip_connect>nor_conv_1x1>"]
    )
    assert space.paths(space.from_arch_str(EMPTY)) == []
