"""The space ``dints`` and its strategy, on small segmentations."""

import pytest

import nas_domains as nd
from nas_domains.core.budget import Budget
from nas_domains.core.errors import UsageError
from nas_domains.core.objective import parse_objectives
from nas_domains.core.registry import spaces, strategies
from nas_domains.core.space_text import load_space
from nas_domains.medical.dints import dints
from nas_domains.strategies import presets
from nas_domains.strategies.parts.dints import TopologyLosses
from nas_domains.testing.strategies import StrategyContract, small_context
from tests.make import one_sentence
from tests.medical.blocks import SPACES, task
from tests.vision.test_mobilenet import small


class TestStrategy(StrategyContract):
    budget = "steps=4"
    make_strategy = staticmethod(presets.dints)

    def make_space(self):
        return load_space(SPACES[2])

    def _context(self, path, objectives=(), seed=0):
        path.mkdir(exist_ok=True)
        return small_context(path, self.make_space(), task(), objectives=objectives, seed=seed)


def test_it_is_listed_without_importing_it():
    assert spaces.entry("dints").domain == "medical" and not spaces.entry("dints").missing


@pytest.mark.parametrize(
    "argument, words",
    [
        ("blocks=0", "blocks=0"),
        ("depths=6", "depths=6.*1 to 5"),
        ("channels=1.5", "channels=1.5"),
        ("dims=1", "dims=1.*2 to 3"),
        ("down=2", "down=2"),
        ("width=3", "width"),
    ],
)
def test_sizes_out_of_range_are_refused(argument, words):
    with pytest.raises(UsageError, match=words) as caught:
        load_space(f"dints:{argument}")
    assert "\n" not in str(caught.value)


def test_its_strategy_is_taken_by_itself_and_refuses_other_spaces(tmp_path):
    from nas_domains.compose import automatic

    assert automatic(dints())[0] == "dints"
    with pytest.raises(UsageError, match="--space dints"):
        strategies.get("dints").check(small(), parse_objectives((), ["accuracy"]))


@pytest.mark.parametrize(
    "sizes, preprocess, said",
    [
        ("depths=3", {"window": [32, 48, 32], "most": 9}, ""),
        ("depths=4", {"window": [64, 64, 32], "most": 0}, ""),
        ("depths=4", {"window": [56, 64, 32], "most": 0}, "56x64x32"),
        ("depths=4", {"window": [64, 64, 32], "most": 9}, "multiples of 8"),
        ("depths=4,down=false", {"window": [64, 64, 32], "most": 9}, ""),
        ("depths=5", {}, ""),
    ],
)
def test_sides_that_cannot_be_halved_so_often_are_refused(sizes, preprocess, said):
    space = load_space(f"dints:{sizes}")
    if not said:
        space.check_task(preprocess)
        return
    with pytest.raises(UsageError) as caught:
        space.check_task(preprocess)
    one_sentence(str(caught.value), said, "depths=4")


def test_the_losses_of_topology_grow_from_the_warm_up_on():
    space = load_space(SPACES[2])
    supernet = space.supernet(task().input_shape, task().outputs)
    losses = [float(TopologyLosses()(supernet, share).detach()) for share in (0.2, 0.5, 0.75, 1)]
    assert losses[:2] == [0, 0] and losses[3] > 0
    assert losses[2] == pytest.approx(losses[3] / 2)


WORKING = ("darts", "darts-2nd", "gdas", "drnas", "beta-darts", "sdarts", "proxyless", "robust")
WORKING += ("spos",)
REFUSED = ("pc-darts", "darts-minus", "darts-pt", "darts-plus", "drnas-progressive")


@pytest.mark.parametrize("name", WORKING)
def test_strategies_of_other_spaces_search_it_too(name, tmp_path):
    context = small_context(tmp_path, load_space(SPACES[2]), task())
    strategy = strategies.get(name)
    strategy.check(context.space, context.objectives)
    budgets = {"spos": "epochs=1,trials=2", "robust": "steps=2,trials=3"}
    budget = budgets.get(name, "steps=2")
    strategy.search(context, strategy.plan(context, Budget.parse(budget)))
    record = strategy.choose(context, context.history.of("search"))
    architecture = context.space.architecture(record.architecture)
    assert context.space.cells(architecture)


@pytest.mark.parametrize("name", REFUSED)
def test_strategies_that_work_on_the_edges_of_cells_say_so(name):
    with pytest.raises(UsageError, match=f"{name!r}.*--strategy"):
        strategies.get(name).check(dints(), parse_objectives((), ["accuracy"]))


def test_a_run_ends_with_a_network_that_loads(tmp_path):
    run = nd.search(
        SPACES[3],
        task(3),
        out=tmp_path / "run",
        budget="steps=4",
        train_budget="epochs=1",
        randoms=1,
        quiet=True,
    )
    assert run.config["strategy"] == "dints"
    assert run.result["best"]["metrics"]["accuracy"] > 0.5
    x = task(3).test[0][0][None]
    assert nd.load(run.path)(x).shape == (1, 2, 8, 12, 8)
    assert (run.path / "report.html").exists()
