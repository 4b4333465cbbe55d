"""Fewer features between the blocks of a pretrained encoder."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

import nas_domains as nd
from nas_domains.export.for_transformers import save_folder
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.hardware.cost import counted
from nas_domains.nn.elastic.base import Elastic
from nas_domains.nn.elastic.hidden import hidden_scores, put_hidden_in_order
from nas_domains.nn.encoder import Norm, made_up
from nas_domains.testing.supernets import SupernetContract
from nas_domains.text.checkpoint import open_checkpoint
from nas_domains.text.spaces import transformer
from tests.core.refusal import refused
from tests.text import make
from tests.text.test_spaces import batch, double, folder, small


def narrow(family: str = "bert", **options: object):
    return small(family, **{"hidden": "0.25-0.75-1", **options})


class TestHidden(SupernetContract):
    input_shapes = ((3, 9, 12), (5,))
    samples = 20
    rounding = 1e-6

    def make_space(self):
        return narrow()

    def other_space(self):
        return narrow(hidden="0.5-1")

    def inputs(self, shape, seed=0, batch=4):
        if shape == (self.outputs,):
            return super().inputs(shape, seed, batch)
        longest = max(shape)
        return made_up(open_checkpoint(folder()).spec, [longest, 4, longest - 1, 2])


@pytest.mark.parametrize("each", ["text", "token"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_outputs_and_gradients_of_extracted_networks_are_those_of_the_supernet(family, each):
    space = narrow(family, each=each)
    supernet, x = double(space).eval(), batch(space)
    for architecture in space.sample(6, seed=2):
        network = supernet.extract(architecture)
        assert not any(isinstance(m, Elastic) for m in network.modules())
        assert network.encoder.spec.hidden == architecture["hidden"]
        assert network.encoder.spec.head_size == 4
        supernet.set_architecture(architecture)
        supernet.zero_grad()
        mine, theirs = supernet(x), network(x)
        assert (mine - theirs).abs().max() < 1e-12
        mine.square().sum().backward()
        theirs.square().sum().backward()
        holder = copy.deepcopy(supernet)
        with torch.no_grad():
            for own, shared in zip(holder.parameters(), supernet.parameters(), strict=True):
                own.copy_(torch.zeros_like(own) if shared.grad is None else shared.grad)
        found = dict(holder.extract(architecture).named_parameters())
        for name, parameter in network.named_parameters():
            scale = parameter.grad.abs().max().clamp_min(1e-2)  # that of key biases is zero
            assert (found[name] - parameter.grad).abs().max() < 1e-10 * scale, name


def test_tables_tell_the_costs_of_every_network():
    space, shape = narrow(), (3, 9, 12)
    tables = space.cost_tables(shape, 3)
    for architecture in [*space.sample(12, seed=0), space.largest(), space.smallest()]:
        found = counted(space.build(architecture, shape, 3), shape)
        for metric, table in tables.items():
            assert table.exact and table.cost(architecture) == found[metric], metric
    most = tables["params"].cost(space.smallest()) * 1.5
    limit = space.limit({"params": (0, most)}, shape, 3)
    assert all(
        tables["params"].cost(found) <= most for found in space.sample(20, seed=1, limit=limit)
    )


@pytest.mark.parametrize("each", ["text", "token"])
def test_importance_is_the_slope_of_a_gate_behind_all_norms(each):
    space = small(each=each)
    torch.manual_seed(0)
    network = space.whole(3).double().eval()
    x = batch(space)
    y = torch.tensor([0, 1, 2, 0])
    y = y if each == "text" else y[:, None].expand(-1, x.shape[1])
    scores = hidden_scores(network, [(x, y)], cross_entropy)
    step, unit = 1e-5, 3
    norms = [m for m in network.modules() if isinstance(m, Norm)]
    assert len(norms) == 5
    ends = []
    for gate in (1 + step, 1 - step):
        gated = copy.deepcopy(network)
        with torch.no_grad():
            for norm in (m for m in gated.modules() if isinstance(m, Norm)):
                norm.weight[unit] *= gate
                norm.bias[unit] *= gate
            ends.append(float(cross_entropy(gated(x), y)))
    slope = abs(ends[0] - ends[1]) / (2 * step)
    assert float(scores["hidden"][unit]) == pytest.approx(slope, rel=1e-4)


@pytest.mark.parametrize("each", ["text", "token"])
@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_order_puts_what_matters_first_and_keeps_the_function(family, each):
    space = small(family, each=each)
    torch.manual_seed(0)
    network = space.whole(3).double().eval()
    x = batch(space)
    y = torch.tensor([0, 1, 2, 0])
    y = y if each == "text" else y[:, None].expand(-1, x.shape[1])
    before = network(x)
    put_hidden_in_order(network, hidden_scores(network, [(x, y)], cross_entropy))
    assert (network(x) - before).abs().max() < 1e-12
    for name, score in hidden_scores(network, [(x, y)], cross_entropy).items():
        if name == "hidden" or each == "text":
            assert (score[:-1] - score[1:]).min() > -1e-12, name


def test_a_narrow_network_of_even_heads_is_an_ordinary_model_of_its_family(tmp_path: Path):
    """Three heads of four features and twelve features between the blocks."""
    space = narrow(heads="0.25-0.75-1")
    choices = {"hidden": 12, "layer1.heads": 3, "layer1.width": 8, "layer2.heads": 3}
    network = space.build(space.architecture(choices | {"layer2.width": 8}), (6,), 2).eval()
    uneven = space.build(space.architecture(choices | {"layer2.width": 32}), (6,), 2).eval()
    description = {"classes": ["no", "yes"], "preprocess": {"checkpoint": folder()}}
    for name, one in (("even", network), ("uneven", uneven)):
        assert save_folder(one, description, tmp_path / name, TOLERANCE) <= TOLERANCE
    code = (
        "import sys, torch\n"
        "from transformers import AutoModelForSequenceClassification as Auto\n"
        "model = Auto.from_pretrained(sys.argv[1]).eval()\n"
        "print(type(model).__name__, model.config.hidden_size, model.config.num_attention_heads)\n"
        "import nas_domains\n"
        "print(type(Auto.from_pretrained(sys.argv[2])).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "even"), str(tmp_path / "uneven")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.splitlines()
    assert first == "BertForSequenceClassification 12 3"
    assert second == "NasEncoderForSequenceClassification"


def test_a_run_cuts_them_and_goes_out_by_every_way(tmp_path: Path):
    data = make.write_tsv(tmp_path / "train.tsv", 100)
    run = nd.search(
        f"transformer:checkpoint={folder()},heads=0.5-1,widths=0.25-1,hidden=0.25-0.5",
        str(data),
        out=tmp_path / "run",
        objectives=["accuracy"],
        budget="epochs=1,trials=3",
        train_budget="epochs=1",
        randoms=1,
        quiet=True,
    )
    best = run.result["best"]
    assert best["architecture"]["hidden"] in (4, 8)
    assert run.result["baselines"]["full"]["params"] >= best["metrics"]["params"]
    for form in ("onnx", "torch", "transformers"):
        assert export(run.path, form, tmp_path / form)[1] <= TOLERANCE
    assert "features between the layers" in (run.path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("hidden", ["0-1", "x", 0, 1.5, "0.5-0.5", -1, ()])
def test_bad_shares_are_refused(hidden):
    with refused("hidden"):
        transformer(folder(), hidden=hidden)
