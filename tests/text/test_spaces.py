"""The space ``transformer``: the contracts and its parts, on tiny random checkpoints."""

import copy
import os
import tempfile
from pathlib import Path

import pytest
import torch

from nas_domains.core.space_text import load_space
from nas_domains.hardware.cost import counted
from nas_domains.nn.elastic.attention import ElasticAttention
from nas_domains.nn.elastic.base import Elastic
from nas_domains.nn.elastic.importance import put_in_order, taylor_scores
from nas_domains.nn.encoder import AttentionBlock, LayerSize, Skip, made_up
from nas_domains.nn.text_classifier import classifier_of
from nas_domains.testing.supernets import SupernetContract
from nas_domains.text.checkpoint import open_checkpoint
from nas_domains.text.spaces import transformer
from tests.core.refusal import refused
from tests.text import make

# One place in all processes of a test run: fingerprints hold it, and a test asks another process.
HOME = os.environ.setdefault("NAS_DOMAINS_TEST_TEXT", tempfile.mkdtemp(prefix="nas_domains-"))


def folder(family="bert"):
    """A tiny checkpoint, made where it is not there yet."""
    place = Path(HOME) / family
    if not place.exists():
        make.checkpoint(place, family)
    return str(place)


def small(family="bert", **options):
    return transformer(folder(family), **{"heads": "0-0.5-1", "widths": "0-0.25-1", **options})


class TestBert(SupernetContract):
    input_shapes = ((3, 9, 12), (5,))
    samples = 20
    # Products over rows that lie apart may add up in another order.
    rounding = 1e-6

    def make_space(self):
        return small()

    def other_space(self):
        return small(heads="0-0.25-1")

    def inputs(self, shape, seed=0, batch=4):
        if shape == (self.outputs,):
            return super().inputs(shape, seed, batch)
        longest = max(shape)
        return made_up(open_checkpoint(folder()).spec, [longest, 4, longest - 1, 2])


def double(space, outputs=3):
    torch.manual_seed(0)
    return space.supernet((6,), outputs).double()


def batch(space, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = made_up(space.checkpoint.spec, [12, 5, 9, 2])
    words = torch.randint(5, 39, x.shape, generator=g)
    special = {space.checkpoint.spec.pad, space.checkpoint.spec.cls, space.checkpoint.spec.sep}
    return torch.where(torch.isin(x, torch.tensor(sorted(special))), x, words)


@pytest.mark.parametrize("family", ["bert", "roberta", "distilbert"])
def test_outputs_and_gradients_of_extracted_networks_are_those_of_the_supernet(family):
    space = small(family)
    supernet, x = double(space).eval(), batch(space)
    for architecture in space.sample(6, seed=1):
        network = supernet.extract(architecture)
        supernet.set_architecture(architecture)
        supernet.zero_grad()
        mine, theirs = supernet(x), network(x)
        assert (mine - theirs).abs().max() < 1e-12
        mine.square().sum().backward()
        theirs.square().sum().backward()
        # Gradients of shared weights are read by extracting from a supernet that holds them.
        holder = copy.deepcopy(supernet)
        with torch.no_grad():
            for own, shared in zip(holder.parameters(), supernet.parameters(), strict=True):
                own.copy_(torch.zeros_like(own) if shared.grad is None else shared.grad)
        found = dict(holder.extract(architecture).named_parameters())
        for name, parameter in network.named_parameters():
            scale = parameter.grad.abs().max().clamp_min(1e-2)  # that of key biases is zero
            assert (found[name] - parameter.grad).abs().max() < 1e-10 * scale, name
        total = sum(float(p.grad.abs().sum()) for p in supernet.parameters() if p.grad is not None)
        own = sum(float(p.grad.abs().sum()) for p in network.parameters())
        assert total == pytest.approx(own, rel=1e-9), "a gradient outside the active weights"


def test_padding_changes_nothing():
    space = small()
    network = space.build(space.largest(), (6,), 3).double().eval()
    x = batch(space)
    for row, length in enumerate((12, 5, 9, 2)):
        alone = network(x[row : row + 1, :length])
        assert (network(x)[row] - alone[0]).abs().max() < 1e-12


def test_a_subnetwork_is_a_view_of_the_shared_weights():
    supernet = small().supernet((6,), 3)
    attention = next(m for m in supernet.modules() if isinstance(m, ElasticAttention))
    attention.activate(heads=1)
    x, keep = torch.randn(2, 5, 16), torch.ones(2, 5, dtype=torch.bool)
    attention(x, keep).sum().backward()
    for name, active in (("query", (slice(0, 4),)), ("out", (slice(None), slice(0, 4)))):
        gradient = getattr(attention.whole, name).weight.grad
        assert gradient.shape == (16, 16)
        rest = gradient.clone()
        rest[active] = 0
        assert gradient[active].any() and not rest.any()


def test_extracted_networks_are_smaller_and_plain():
    space = small()
    choices = {"layer1.heads": 2, "layer1.width": 0, "layer2.heads": 0, "layer2.width": 8}
    network = space.supernet((6,), 3).extract(space.architecture(choices))
    assert not any(isinstance(m, Elastic) for m in network.modules())
    first, second = network.encoder.layers
    assert isinstance(first.attention, AttentionBlock) and first.attention.heads == 2
    assert first.attention.query.weight.shape == (8, 16)
    assert first.attention.out.weight.shape == (16, 8)
    assert first.attention.out.weight.is_contiguous()
    assert isinstance(first.feed_forward, Skip) and isinstance(second.attention, Skip)
    assert second.feed_forward.inner.weight.shape == (8, 16)


def test_importance_is_the_slope_of_a_gate():
    """Against a central difference of the loss in a gate on the weights behind it."""
    space = small()
    torch.manual_seed(0)
    network = space.whole(3).double().eval()
    x, y = batch(space), torch.tensor([0, 1, 2, 0])
    loss = torch.nn.functional.cross_entropy
    scores = taylor_scores(network, [(x, y)], loss)
    assert {name: len(s) for name, s in scores.items()} == {
        "encoder.layers.0.attention": 4,
        "encoder.layers.0.feed_forward": 32,
        "encoder.layers.1.attention": 4,
        "encoder.layers.1.feed_forward": 32,
    }
    step = 1e-5
    with torch.no_grad():
        for name, unit in (("0.attention", 2), ("1.feed_forward", 5)):
            block = network.get_submodule(f"encoder.layers.{name}")
            size = 4 if "attention" in name else 1
            weight = block.out.weight if size == 4 else block.outer.weight
            columns = slice(unit * size, (unit + 1) * size)
            kept = weight[:, columns].clone()
            ends = []
            for gate in (1 + step, 1 - step):
                weight[:, columns] = gate * kept
                ends.append(float(loss(network(x), y)))
            weight[:, columns] = kept
            slope = abs(ends[0] - ends[1]) / (2 * step)
            assert float(scores[f"encoder.layers.{name}"][unit]) == pytest.approx(slope, rel=1e-4)


def test_order_puts_what_matters_first_and_keeps_the_function():
    space = small()
    torch.manual_seed(0)
    network = space.whole(3).double().eval()
    x, y = batch(space), torch.tensor([0, 1, 2, 0])
    loss = torch.nn.functional.cross_entropy
    before = network(x)
    put_in_order(network, taylor_scores(network, [(x, y)], loss))
    assert (network(x) - before).abs().max() < 1e-12
    for name, score in taylor_scores(network, [(x, y)], loss).items():
        assert (score[:-1] - score[1:]).min() > -1e-12, name


def test_the_default_space_and_its_references():
    space = transformer(folder())
    assert space.size() == (5 * 5) ** 2 and space.choices[0].options == (0, 1, 2, 3, 4)
    assert transformer(**space.config).fingerprint == space.fingerprint
    assert load_space(f"transformer:checkpoint={folder()}").fingerprint == space.fingerprint
    winner = space.architecture(
        {"layer1.heads": 4, "layer1.width": 8, "layer2.heads": 0, "layer2.width": 24}
    )
    named = space.references(winner, (6,), 3)
    assert named["full"] == space.largest()
    assert dict(named["uniform"]) == {
        "layer1.heads": 2, "layer1.width": 16, "layer2.heads": 2, "layer2.width": 16
    }  # fmt: skip


def test_costs_of_the_whole_network_are_those_of_the_formula():
    space = small()
    tokens, d, width, outputs = 9, 16, 32, 3
    macs = 2 * (4 * tokens * d * d + 2 * tokens * tokens * d + 2 * tokens * d * width)
    macs += d * d + d * outputs
    network = space.build(space.largest(), (3, tokens, 12), outputs)
    found = counted(network, (3, tokens, 12))
    assert found["macs"] == macs
    assert found["params"] == sum(p.numel() for p in space.whole(outputs).parameters())


def test_the_whole_network_keeps_its_weights_where_a_supernet_is_adopted():
    space = small()
    torch.manual_seed(0)
    space.hold(space.whole(3))
    supernet = space.supernet((6,), 3)
    with torch.no_grad():
        for parameter in supernet.weight_parameters():
            parameter.add_(1)
    part = space.smallest()
    before = [space.build(a, (6,), 3).state_dict() for a in (space.largest(), part)]
    space.adopt(supernet)
    after = [space.build(a, (6,), 3).state_dict() for a in (space.largest(), part)]
    name = "encoder.layers.0.attention.query.weight"
    assert torch.equal(after[0][name], before[0][name])
    assert torch.allclose(after[1][name], before[1][name] + 1)


def test_norms_may_stand_first():
    """As in ViT and wav2vec 2.0: an empty layer is then the identity."""
    from dataclasses import replace

    spec = replace(open_checkpoint(folder()).spec, norm_first=True)
    torch.manual_seed(0)
    network = classifier_of(spec, [LayerSize(4, 32), LayerSize(0, 0)], 2).eval()
    assert network.encoder.norm is not None
    x = made_up(spec, [7, 3])
    assert network(x).shape == (2, 2) and network(x).isfinite().all()
    assert torch.equal(network.encoder(x)[1, :3], network.encoder(x[:, :])[1, :3])


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"checkpoint": ""}, ("checkpoint=FOLDER",)),
        ({"checkpoint": "no/such"}, ("'no/such'", "config.json")),
        ({"heads": "0.5-x"}, ("heads='0.5-x'",)),
        ({"heads": 1.5}, ("heads=1.5",)),
        ({"heads": "0.5-0.5"}, ("heads='0.5-0.5'", "twice")),
        ({"heads": "0.5-0.55"}, ("heads", "twice")),
        ({"widths": 0}, ("widths=0",)),
        ({"widths": ()}, ("widths=()",)),
        ({"widths": "-1"}, ("widths='-1'",)),
        ({"tune": -1}, ("tune=-1",)),
        ({"tune": 1.5}, ("tune=1.5",)),
        ({"distil": 3}, ("distil=3",)),
    ],
)
def test_bad_options_are_refused(options, names):
    with refused(*names):
        transformer(**{"checkpoint": folder(), **options})


@pytest.mark.parametrize("shape", [(), (1,), (3, 28, 28), (6, 25)])
def test_inputs_that_are_no_texts_are_refused(shape):
    space = small()
    for use in (space.supernet, space.cost_tables):
        with refused(shape, "transformer"):
            use(shape, 2)
