"""DARTS, and the bugs that other ports of it shipped."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.data import TensorDataset

import nas_domains
from nas_domains.core.budget import Budget
from nas_domains.core.errors import UsageError
from nas_domains.core.history import Record
from nas_domains.core.objective import parse_objectives
from nas_domains.core.task import Task
from nas_domains.evaluation.halves import search_halves
from nas_domains.evaluation.select import choose
from nas_domains.nn.candidates import NORM
from nas_domains.nn.model_space import space_of
from nas_domains.strategies.gradient import Gradient
from nas_domains.strategies.gradient_search import GradientSearch, frozen_statistics, shifted
from nas_domains.strategies.settings import GradientSettings
from nas_domains.vision.spaces import darts, nasbench201
from tests.make import Widths, images, make_context, make_task, one_sentence

ORDERS = pytest.mark.parametrize("second_order", [False, True])


def _statistics(search: GradientSearch) -> list[Tensor]:
    norms = [m for m in search.supernet.modules() if isinstance(m, tuple(NORM.values()))]
    return [b.clone() for norm in norms for b in norm.buffers()]


def _split(search: GradientSearch, step: int) -> tuple[Tensor, ...]:
    return (*search.train_stream.batch(step), *search.val_stream.batch(step))


def test_the_halves_are_disjoint_and_cover_the_training_split(tmp_path: Path) -> None:
    first, second = search_halves(make_context(tmp_path))
    assert not set(first) & set(second)
    assert sorted(first + second) == list(range(48))
    assert len(first) == len(second)


def test_the_architecture_step_sees_every_validation_sample(tmp_path: Path) -> None:
    # An iterator rebuilt at every step would give the same batch for ever.
    search = GradientSearch(make_context(tmp_path), GradientSettings(), steps=4)
    seen = [search.val_stream.batch(step)[0] for step in range(search.val_stream.steps_per_epoch)]
    rows = torch.cat(seen).flatten(1)
    assert len(torch.unique(rows, dim=0)) == len(search.second)


@ORDERS
def test_the_architecture_step_leaves_statistics_and_weights(
    tmp_path: Path, second_order: bool
) -> None:
    search = GradientSearch(
        make_context(tmp_path), GradientSettings(second_order=second_order), steps=4
    )
    search.step(0)
    search.supernet.train()
    statistics, weights = _statistics(search), [w.clone() for w in search.weights]
    alphas = [a.detach().clone() for a in search.alphas]
    search._architecture_step(*_split(search, 1), 0.02)
    assert all(torch.equal(a, b) for a, b in zip(statistics, _statistics(search), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(weights, search.weights, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(alphas, search.alphas, strict=True))
    search._weight_step(*search.train_stream.batch(1))
    assert not all(torch.equal(a, b) for a, b in zip(statistics, _statistics(search), strict=True))


def test_frozen_statistics_normalise_by_the_batch(tmp_path: Path) -> None:
    search = GradientSearch(make_context(tmp_path), GradientSettings(), steps=4)
    x = search.train_stream.batch(0)[0]
    search.supernet.train()
    expected = search.supernet(x)
    with frozen_statistics(search.supernet):
        assert torch.equal(search.supernet(x), expected)


def test_architecture_gradients_are_of_validation_data_alone(tmp_path: Path) -> None:
    def alphas_after(noise: float) -> list[Tensor]:
        x, y = images(48, 0).tensors
        first, _ = search_halves(make_context(tmp_path))
        x = x.clone()
        x[first] += noise
        task = Task.from_datasets(TensorDataset(x, y), images(24, 1), images(24, 2))
        search = GradientSearch(
            make_context(tmp_path, task=task.with_recipe(batch_size=12)), GradientSettings(), 4
        )
        search.step(0)
        return [a.detach().clone() for a in search.alphas]

    for a, b in zip(alphas_after(0.0), alphas_after(1.0), strict=True):
        assert torch.equal(a, b)


def test_the_weight_step_moves_no_architecture_parameter(tmp_path: Path) -> None:
    search = GradientSearch(make_context(tmp_path), GradientSettings(), steps=4)
    before = [a.detach().clone() for a in search.alphas]
    search._weight_step(*search.train_stream.batch(0))
    assert all(a.grad is None for a in search.alphas)
    assert all(torch.equal(a, b) for a, b in zip(before, search.alphas, strict=True))


def test_the_second_order_gradient_is_that_of_the_unrolled_loss(tmp_path: Path) -> None:
    """Against autograd through the look-ahead step, in float64."""
    settings = GradientSettings(second_order=True, epsilon=1e-5)
    search = GradientSearch(make_context(tmp_path), settings, steps=4)
    for step in range(3):
        search.step(step)
    supernet = search.supernet.double().train()
    rate = 0.2
    x, y, x_val, y_val = _split(search, 3)
    x, x_val = x.double(), x_val.double()
    for weight in search.weights:
        buffer = search.optimizer.state[weight]["momentum_buffer"]
        search.optimizer.state[weight]["momentum_buffer"] = buffer.double()

    def loss(parameters: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(functional_call(supernet, parameters, (x,)), y)

    with frozen_statistics(supernet):
        parameters = dict(supernet.named_parameters())
        names = [n for n in parameters if n.startswith("body.")]
        gradients = torch.autograd.grad(
            loss(parameters, x, y), [parameters[n] for n in names], create_graph=True
        )
        ahead = dict(parameters)
        for name, g in zip(names, gradients, strict=True):
            w = parameters[name]
            v = search.optimizer.state[w]["momentum_buffer"]
            ahead[name] = w - rate * (g + settings.weight_decay * w + settings.momentum * v)
        val_loss = loss(ahead, x_val, y_val)
        exact = torch.autograd.grad(val_loss, search.alphas)
        ours_loss, ours = search._unrolled(x, y, x_val, y_val, rate)
    torch.testing.assert_close(ours_loss, val_loss)
    for a, b in zip(ours, exact, strict=True):
        # A central difference of length 1e-5 is off by its square and by rounding over its length.
        assert float((a - b).norm() / b.norm()) < 1e-6


class Dropping(nn.Module):
    """A mixed model half of whose features drop out."""

    def __init__(self) -> None:
        super().__init__()
        self.drop, self.head = nn.Dropout(0.5), nn.Linear(64, 3)
        self.mix = nas_domains.OneOf({"plain": nn.Identity(), "tanh": nn.Tanh()})

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.mix(self.drop(x.flatten(1))))
        return out


def test_the_second_order_gradient_is_no_noise_of_dropout(tmp_path: Path) -> None:
    """Shorter differences of the same are the same; those of other masks would be 100 times."""
    (tmp_path / "a").mkdir()
    found = []
    for epsilon in (1e-2, 1e-4):
        settings = GradientSettings(second_order=True, epsilon=epsilon)
        context = make_context(tmp_path / "a", space_of(Dropping))
        search = GradientSearch(context, settings, steps=4)
        search.supernet.double().train()
        x, y, x_val, y_val = _split(search, 3)
        with frozen_statistics(search.supernet):
            torch.manual_seed(0)
            _, gradients = search._unrolled(x.double(), y, x_val.double(), y_val, 1.0)
        found.append(torch.cat([g.flatten() for g in gradients]))
    torch.testing.assert_close(*found, rtol=1e-2, atol=1e-4)


def test_shifted_puts_back_bits() -> None:
    weights = [torch.randn(5), torch.randn(2, 3)]
    before = [w.clone() for w in weights]
    with pytest.raises(RuntimeError), shifted(weights, [torch.randn(5), torch.randn(2, 3)], 0.3):
        assert not torch.equal(weights[0], before[0])
        raise RuntimeError
    assert all(torch.equal(a, b) for a, b in zip(weights, before, strict=True))


def test_the_final_network_has_the_searched_nodes_and_concat(tmp_path: Path) -> None:
    space = darts(cells=2, channels=4)
    context = make_context(tmp_path, space)
    search = GradientSearch(context, GradientSettings(), steps=4)
    architecture = search.supernet.decode()
    network = space.build(architecture, (1, 8, 8), 3)
    for cell, searched in zip(network.cells, search.supernet.body.cells, strict=True):
        assert cell.design == searched.design
        assert {e[1] for e in cell.order} == {e[1] for e in searched.order}
        assert len(cell.order) == 2 * cell.design.nodes
    assert network.classifier.in_features == search.supernet.body.classifier.in_features


def test_the_best_decode_wins_not_the_last(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    architectures = context.space.sample(3)
    for step, (architecture, accuracy) in enumerate(
        zip(architectures, (0.5, 0.9, 0.7), strict=True), 1
    ):
        metrics = {"accuracy": accuracy, "loss": 1.0}
        context.history.add(Record("search", step, dict(architecture), {}, metrics, 0.0))
    assert choose(context, context.history.of("search")).step == 2


def test_of_equal_decodes_the_later_wins(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    for step in (1, 2):
        metrics = {"accuracy": 0.5, "loss": 1.0}
        context.history.add(Record("search", step, {}, {}, metrics, 0.0))
    assert choose(context, context.history.of("search")).step == 2


def test_no_source_names_a_device() -> None:
    for path in Path(nas_domains.__file__).parent.rglob("*.py"):
        assert ".cuda()" not in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize(
    ("space", "objectives", "named"),
    [
        (nasbench201(1, 4), ("accuracy", "auc"), "auc"),
        (Widths(), (), "widths"),
    ],
)
def test_what_it_cannot_honour_is_refused(
    space: nas_domains.SearchSpace, objectives: tuple[str, ...], named: str
) -> None:
    strategy = Gradient("darts", GradientSettings())
    parsed = parse_objectives(objectives, ["accuracy", "auc"])
    with pytest.raises(UsageError) as error:
        strategy.check(space, parsed)
    one_sentence(str(error.value), "darts", named)


@ORDERS
def test_a_search_learns_and_records_each_epoch(tmp_path: Path, second_order: bool) -> None:
    settings = GradientSettings(second_order=second_order, lr=0.1)
    context = make_context(tmp_path)
    strategy = Gradient("darts", settings)
    plan = strategy.plan(context, Budget.parse("epochs=6"))
    assert plan == {"steps": 12}
    strategy.search(context, plan)
    records = context.history.of("search")
    assert [r.step for r in records] == list(range(1, 7))
    assert records[-1].detail["train_loss"] < records[0].detail["train_loss"]
    for record in records:
        context.space.architecture(record.architecture or {})
        weights = torch.tensor(record.detail["weights"]["cell"])
        torch.testing.assert_close(weights.sum(1), torch.ones(6))
        assert record.metrics["params"] and record.metrics["macs"]


def test_a_time_becomes_steps(tmp_path: Path) -> None:
    strategy = Gradient("darts", GradientSettings())
    short = strategy.plan(make_context(tmp_path), Budget.parse("2s"))["steps"]
    long = strategy.plan(make_context(tmp_path), Budget.parse("20s"))["steps"]
    assert 1 <= short < long


def test_training_and_validation_streams_do_not_leak(tmp_path: Path) -> None:
    task = make_task()
    search = GradientSearch(make_context(tmp_path, task=task), GradientSettings(), steps=4)
    train = {int(i) for i in search.train_stream.indices}
    assert not train & {int(i) for i in search.val_stream.indices}
