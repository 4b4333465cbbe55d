"""The space ``text-heads``: the contracts, what is cut out, its references and refusals."""

import pytest
import torch

from nas_domains.compose import automatic
from nas_domains.core.space_text import load_space
from nas_domains.core.task import load_task
from nas_domains.hardware.cost import counted
from nas_domains.nn.encoder import made_up
from nas_domains.nn.head_operators import OPERATORS
from nas_domains.nn.heads import Heads
from nas_domains.nn.one_of import OneOf
from nas_domains.strategies.paths import extremes
from nas_domains.text.scratch import text_heads
from tests.core.refusal import refused
from tests.nn.test_model_space import ModelContract
from tests.text import make

SMALL = {"heads": 3, "width": 12, "feeds": "8-16", "vocabulary": 80, "max_length": 24}


def small(**options):
    return text_heads(**{**SMALL, "dropout": 0, **options})


class TestTextHeads(ModelContract):
    input_shapes = ((3, 9, 12), (5,))
    samples = 20
    # Products of fewer rows may add up in another order.
    rounding = 2e-6

    def make_space(self):
        return small()

    def other_space(self):
        return small(feeds="8-24")

    def inputs(self, shape, seed=0, batch=4):
        if shape == (self.outputs,):
            return super().inputs(shape, seed, batch)
        longest = max(shape)
        return made_up(small().spec, [longest, 4, longest - 1, 2])


class TestFirstTokenOfOneLayer(TestTextHeads):
    def make_space(self):
        return small(layers=1, pool="cls", operators="linear-conv-none")

    def other_space(self):
        return small(layers=1)


def test_gradients_of_extracted_networks_are_those_of_the_supernet():
    space = small()
    torch.manual_seed(0)
    supernet = space.supernet((6,), 3).double()
    x = made_up(space.spec, [12, 5, 2])
    for architecture in space.sample(5, seed=1):
        network = supernet.extract(architecture)
        supernet.set_architecture(architecture)
        supernet.zero_grad()
        mine, theirs = supernet(x), network(x)
        torch.testing.assert_close(mine, theirs)
        mine.square().sum().backward()
        theirs.square().sum().backward()
        for name in ("embeddings.words.weight", "classifier.weight", "layers.0.heads.norm.weight"):
            grads = (n.get_parameter(name).grad for n in (supernet.body, network))
            torch.testing.assert_close(*grads)


def test_padding_does_not_matter():
    space = small()
    x = made_up(space.spec, [9, 9])
    wide = torch.nn.functional.pad(x, (0, 7), value=space.spec.pad)
    for pool in ("mean", "cls"):
        other = small(pool=pool)
        for architecture in other.sample(4, seed=2):
            network = other.build(architecture, (9,), 3).double().eval()
            torch.testing.assert_close(network(x), network(wide))


def test_networks_hold_nothing_that_is_not_chosen():
    space = small()
    chosen = {"layer1.head1": "conv", "layer1.head2": "none", "layer1.head3": "conv"}
    chosen |= {"layer2.head1": "linear", "layer2.head2": "conv", "layer2.head3": "none"}
    architecture = space.architecture(chosen | {"layer1.feed": "8", "layer2.feed": "16"})
    network = space.build(architecture, (5,), 3)
    assert not any(isinstance(m, OneOf) for m in network.modules())
    first, second = (m for m in network.modules() if isinstance(m, Heads))
    assert first.query is None and first.value.out_features == 2 * 4
    assert second.query.out_features == 4 and second.value.out_features == 2 * 4
    assert [type(op).__name__ for op in second.choices] == ["LinearHead", "ConvHead"]


def test_the_largest_and_the_smallest_are_the_ends_of_the_table():
    space = small(operators="softmax-conv-none", heads=2)
    table = space.cost_tables((5,), 3)["params"]
    sizes = [table.cost(a) for a in space]
    ends = extremes(space, (5,), 3, seed=0)
    assert [table.cost(a) for a in ends] == [max(sizes), min(sizes)]


def test_the_softmax_network_beside_a_winner_is_as_large():
    space = small(width=48, heads=4, feeds="16-32-48-64")
    table = space.cost_tables((5,), 3)["params"]
    for winner in space.sample(8, seed=3):
        reference = space.references(winner, (5,), 3)["softmax"]
        kinds = {option for name, option in reference.items() if ".head" in name}
        assert kinds <= {"softmax", "none"}
        assert table.cost(reference) == pytest.approx(table.cost(winner), rel=0.02)
        counts = counted(space.build(reference, (5,), 3), (5,))
        assert counts["params"] == table.cost(reference)
    bare = small(operators="conv-none")
    assert bare.references(bare.largest(), (5,), 3) == {}
    deep = small(layers=12)
    found = deep.references(deep.smallest(), (5,), 3)["softmax"]
    assert deep.architecture(found) == found


def test_heads_that_are_none_are_the_share_without_parameters():
    space = small()
    assert space.parameter_free(space.largest()) == 0
    assert space.parameter_free(space.smallest()) == pytest.approx(4 / 6)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ("layers=0", ("layers=0", "> 0")),
        ("heads=5", ("heads=5", "width 64")),
        ("width=true", ("width=True",)),
        ("vocabulary=10", ("vocabulary=10", "64")),
        ("max_length=3", ("max_length=3",)),
        ("feeds=0-4", ("feeds='0-4'",)),
        ("feeds=4-4", ("feeds='4-4'", "twice")),
        ("feeds=wide", ("feeds='wide'",)),
        ("operators=softmax-hard", ("'softmax-hard'", "linear")),
        ("operators=none", ("operators='none'", "alone")),
        ("operators=conv-conv", ("twice",)),
        ("pool=max", ("pool='max'", "mean or cls")),
        ("dropout=1", ("dropout=1",)),
        ("dropout=much", ("dropout='much'",)),
        ("depth=3", ("'depth'", "layers")),
    ],
)
def test_bad_sizes_are_refused(options, names):
    with refused(*names):
        load_space(f"text-heads:{options}")


def test_inputs_that_are_no_texts_are_refused():
    for shape in ((3, 32, 32), (), (1,)):
        with refused("2 to 24 tokens"):
            small().build(small().largest(), shape, 3)


def test_auto_takes_a_strategy_that_scores_paths():
    assert automatic(small())[0] == "ofa"


def test_operators_keep_the_order_of_their_costs():
    assert list(small(operators="none-conv-softmax").operators) == ["softmax", "conv", "none"]
    assert list(OPERATORS)[-1] == "none"


def test_tasks_of_other_tokens_are_refused(tmp_path):
    source = str(make.write_tsv(tmp_path / "a.tsv", 40))
    task = load_task(source, vocabulary=64)
    small(vocabulary=64).check_task(task.preprocess)
    large = load_task(source, vocabulary=100)
    assert len(large.preprocess["vocabulary"]["tokens"]) > 64
    with refused("64 tokens", "vocabulary"):
        small(vocabulary=64).check_task(large.preprocess)
    with refused("checkpoint"):
        small().check_task({"loader": "text", "checkpoint": "somewhere"})
