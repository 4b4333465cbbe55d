"""The space ``conformer``: the contracts, whole runs, refusals."""

import pytest
import torch

import nas_domains as nd
from nas_domains.core.space_text import load_space
from nas_domains.core.task import Task
from nas_domains.nn.conformer import ConvolutionBlock
from nas_domains.nn.heads import Heads
from nas_domains.nn.one_of import OneOf
from nas_domains.speech.conformer import conformer
from tests.core.refusal import refused
from tests.nn.test_model_space import ModelContract


def small(**options):
    given = {"heads": 2, "width": 8, "feeds": "4-8", "kernel": 3, "channels": 2, "dropout": 0}
    return conformer(**{**given, **options})


class TestConformer(ModelContract):
    input_shapes = ((1, 8, 12), (1, 5, 7))
    samples = 20
    # Products of fewer rows may add up in another order.
    rounding = 1e-5

    def make_space(self):
        return small()

    def other_space(self):
        return small(kernel=5)


def test_a_layer_is_the_formula_of_the_paper():
    space = small(layers=1)
    network = space.build(space.alike("softmax", 8), (1, 8, 12), 3).double().eval()
    assert not any(isinstance(m, OneOf) for m in network.modules())
    layer = network.layers[0]
    x = torch.randn(2, 5, 8, dtype=torch.float64)

    def feed(block, x):
        inner = torch.nn.functional.silu(block.inner(block.norm(x)))
        return block.outer(inner)

    y = x + 0.5 * feed(layer.before.block, x)
    y = y + layer.heads.heads(layer.heads.norm(y))
    y = layer.convolution(y)
    y = y + 0.5 * feed(layer.behind.block, y)
    torch.testing.assert_close(layer(x), layer.norm(y))
    assert isinstance(layer.convolution, ConvolutionBlock)
    assert isinstance(layer.heads.heads, Heads)


def tones(n, seed):
    """Spectrograms [1, 8, 12] with a loud low band or a loud high one."""
    g = torch.Generator().manual_seed(seed)
    rows = []
    for i in range(n):
        x = 0.3 * torch.randn((1, 8, 12), generator=g)
        x[0, 1 + 5 * (i % 2), 3:9] += 2
        rows.append((x, i % 2))
    return rows


def test_a_run_learns_draws_and_exports(tmp_path):
    task = Task.from_datasets(tones(48, 0), tones(16, 1), tones(16, 2), name="tones")
    run = nd.search(
        small(layers=1),
        task.with_recipe(optimizer="adamw", lr=1e-2, batch_size=16),
        out=tmp_path / "a",
        strategy="gdas",
        budget="steps=4",
        train_budget="epochs=12",
        validate=False,
        quiet=True,
    )
    assert run.result["best"]["metrics"]["accuracy"] > 0.8
    assert 'class="operators"' in (run.path / "report.html").read_text()
    from nas_domains.export.formats import TOLERANCE, export

    path, difference = export(run.path, "onnx", tmp_path / "model.onnx")
    assert path.is_file() and difference <= TOLERANCE


def test_the_softmax_network_beside_a_winner_is_nearly_as_large():
    space = small(width=24, heads=4, feeds="8-16-24-32")
    table = space.cost_tables((1, 8, 12), 3)["params"]
    for winner in space.sample(5, seed=3):
        reference = space.references(winner, (1, 8, 12), 3)["softmax"]
        assert table.cost(reference) == pytest.approx(table.cost(winner), rel=0.05)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("kernel=4", ("kernel=4", "odd")),
        ("heads=3", ("heads=3", "width 32")),
        ("channels=0", ("channels=0",)),
        ("operators=max", ("operators='max'",)),
        ("dropout=2", ("dropout=2",)),
        ("feeds=x", ("feeds='x'",)),
    ],
)
def test_bad_sizes_are_refused(options, names):
    with refused(*names):
        load_space(f"conformer:{options}")


def test_inputs_that_are_no_spectrograms_are_refused():
    for shape in ((3, 8, 8), (5,), (1, 8)):
        with refused("spectrograms"):
            small().build(small().largest(), shape, 3)
