"""A share of the data and of the resolution: what trials see, what they cost, what is refused."""

from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.core.task import Task
from nas_domains.evaluation.fidelity import Resized, reduced, reduced_shape
from nas_domains.strategies import presets
from nas_domains.testing.strategies import StrategyContract
from tests.make import Widths, make_context, make_task, one_sentence


def test_whole_shares_change_nothing(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    assert reduced(context, Fidelity(3)) is context
    assert Fidelity(3).as_dict() == {"epochs": 3}
    assert Fidelity(3, data=0.5).as_dict() == {"epochs": 3, "data": 0.5}


def test_all_trials_see_the_same_part_of_the_data(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), seed=3)
    first, again = (reduced(context, Fidelity(1, data=0.25)).task for _ in range(2))
    assert len(first.train) == 12 and len(first.val) == len(context.task.val)
    x, y = first.train.batch(range(12))
    other, _ = again.train.batch(range(12))
    assert torch.equal(x, other) and torch.equal(x[5], first.train[5][0])
    whole = torch.stack([context.task.train[i][0] for i in range(48)])
    found = [int((whole == one).flatten(1).all(1).nonzero()) for one in x]
    assert found == sorted(set(found)) and found != list(range(12))
    assert y.tolist() == [i % 3 for i in found]
    seed = reduced(make_context(tmp_path, Widths(), seed=4), Fidelity(1, data=0.25)).task
    assert not torch.equal(seed.train.batch(range(12))[0], x)


def test_a_lower_resolution_averages_pixels(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths())
    cheap = reduced(context, Fidelity(1, resolution=0.5)).task
    assert cheap.input_shape == (1, 4, 4)
    x, y = context.task.val[7]
    small, same = cheap.val[7]
    assert int(same) == int(y)
    torch.testing.assert_close(small, x.reshape(1, 4, 2, 4, 2).mean((2, 4)))


def test_a_class_for_each_voxel_is_that_of_the_nearest() -> None:
    x, y = torch.rand(2, 1, 8, 12, 16), torch.arange(2 * 8 * 12 * 16).reshape(2, 8, 12, 16)
    small, classes = Resized(TensorDataset(x, y), 0.5).batch([0, 1])
    assert small.shape == (2, 1, 4, 6, 8) and classes.shape == (2, 4, 6, 8)
    assert torch.equal(classes, y[:, 1::2, 1::2, 1::2])


class TestCheapTrials(StrategyContract):
    """Trials on a part of the data, at half the resolution."""

    budget = "trials=3,epochs=2"
    make_strategy = staticmethod(presets.hyperband)

    def make_space(self) -> Widths:
        return Widths()

    def _context(self, path: Path, objectives: tuple[str, ...] = (), seed: int = 0):
        context = super()._context(path, objectives, seed)
        context.shares = {"data": 0.5, "resolution": 0.5}
        return context


def test_a_run_says_its_fidelity_and_trains_the_winner_on_everything(tmp_path: Path) -> None:
    run = nd.search(
        Widths(),
        make_task(),
        out=tmp_path / "run",
        strategy="evolution",
        budget="trials=3,epochs=1",
        train_budget="epochs=1",
        fidelity={"data": 0.5, "resolution": 0.5},
        validate=False,
        quiet=True,
    )
    for record in run.history.of("search"):
        assert record.fidelity == {"epochs": 1, "data": 0.5, "resolution": 0.5}
        network = Widths().build(record.architecture, (1, 8, 8), 3)
        # What it costs is that of the whole network.
        assert record.metrics["params"] == sum(p.numel() for p in network.parameters())
    assert run.history.find("test/winner/0", 0).fidelity == {"epochs": 1}


@pytest.mark.parametrize(
    ("shares", "named"),
    [
        ({"data": 0}, "data=0"),
        ({"data": 1.5}, "data=1.5"),
        ({"data": "half"}, "data=half"),
        ({"resolution": -0.5}, "resolution=-0.5"),
        ({"resolution": 0.1}, "resolution=0.1"),
        ({"epochs": 3}, "epochs"),
    ],
)
def test_bad_shares_are_named_before_anything_is_written(
    tmp_path: Path, shares: dict, named: str
) -> None:
    with pytest.raises(UsageError) as error:
        nd.search(
            Widths(),
            make_task(),
            out=tmp_path / "run",
            strategy="random",
            fidelity=shares,
            quiet=True,
        )
    one_sentence(str(error.value), named)
    assert not (tmp_path / "run").exists()


def test_what_has_no_sides_or_no_trials_is_refused(tmp_path: Path) -> None:
    flat = TensorDataset(torch.rand(9, 5), torch.arange(9) % 3)
    task = Task.from_datasets(flat, flat, flat, name="rows")
    with pytest.raises(UsageError) as error:
        reduced_shape(task, Fidelity(1, resolution=0.5))
    one_sentence(str(error.value), "rows", "resolution=0.5")
    with pytest.raises(UsageError) as error:
        nd.search(
            "nasbench201:cells=1,channels=4",
            make_task(),
            out=tmp_path / "run",
            strategy="darts",
            fidelity={"data": 0.5},
            quiet=True,
        )
    one_sentence(str(error.value), "darts", "--fidelity")
