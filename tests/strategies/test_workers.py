"""Several processes: nothing is scored twice, a killed worker's trial is run by another."""

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nas_domains import load_task
from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.core.history import Record
from nas_domains.core.task import Task
from nas_domains.evaluation.context import Context
from nas_domains.strategies import presets
from nas_domains.strategies.workers import Job, epochs_file
from tests.make import Widths, images, make_context, make_task, one_sentence


class Fragile(Widths):
    """Widths whose network kills the process that builds it, as long as a file is there."""

    def __init__(self, marker: Path, times: int = 1) -> None:
        super().__init__()
        self.marker, self.times = marker, times

    def build(self, *arguments: Any) -> nn.Module:
        left = int(self.marker.read_text()) if self.marker.exists() else 0
        if left:
            # As a whole: the other worker may be reading it.
            written = self.marker.with_name(f"marker{os.getpid()}")
            written.write_text(str(left - 1))
            os.replace(written, self.marker)
            os.kill(os.getpid(), signal.SIGKILL)
        return super().build(*arguments)


def search(context: Context, trials: int = 4, epochs: int = 2) -> list[Record]:
    presets.random().search(context, {"trials": trials, "epochs": epochs})
    return context.history.of("search")


def test_two_workers_end_in_the_records_of_one(tmp_path: Path) -> None:
    one = make_context(tmp_path / "one", Widths())
    two = make_context(tmp_path / "two", Widths())
    for path in ("one", "two"):
        (tmp_path / path).mkdir()
    two.workers = 2
    # Random draws do not depend on what was scored, nor then on which worker is faster.
    alone, together = search(one), search(two)
    assert [r.architecture for r in alone] == [r.architecture for r in together]
    for a, b in zip(alone, together, strict=True):
        assert a.metrics["accuracy"] == b.metrics["accuracy"] and b.seconds > 0
    assert not list((tmp_path / "two" / "checkpoints" / "trial").iterdir())
    assert {r.stage for r in one.history} == {r.stage for r in two.history}


@pytest.mark.slow
def test_a_killed_workers_trial_is_run_by_another(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    marker = tmp_path / "marker"
    marker.write_text("1")
    context = make_context(tmp_path, Fragile(marker))
    context.reporter.console.quiet = False
    context.workers = 2
    records = search(context)
    assert "another goes on" in capfd.readouterr().err
    assert [r.step for r in records] == [1, 2, 3, 4]
    assert all(r.metrics["accuracy"] is not None for r in records)


@pytest.mark.slow
def test_a_trial_that_kills_every_worker_ends_the_search(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    marker.write_text("99")
    context = make_context(tmp_path, Fragile(marker))
    context.workers = 2
    with pytest.raises(UsageError) as error:
        search(context)
    one_sentence(str(error.value), "3 times", "--workers")


class Raising(Widths):
    """Widths whose network cannot be built, as of a data set that cannot be read."""

    def build(self, *arguments: Any) -> nn.Module:
        raise KeyError("scan 7")


def test_what_a_worker_raises_is_told(tmp_path: Path) -> None:
    context = make_context(tmp_path, Raising())
    context.workers = 2
    with pytest.raises(RuntimeError, match=r"trial \d: KeyError.*scan 7"):
        search(context)


@pytest.mark.slow
def test_a_script_without_a_guard_is_told_of_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import nas_domains as nd\n"
        "nd.search('nasbench201:cells=1,channels=4', 'digits', strategy='random', workers=2,\n"
        f"    budget='trials=2,epochs=1', out={str(tmp_path / 'run')!r})\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, timeout=200, check=False
    )
    assert "if __name__ == '__main__'." in done.stderr.strip().splitlines()[-1]
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_sent_is_named(tmp_path: Path) -> None:
    task = Task.from_datasets(
        images(12, 0),
        images(12, 1),
        images(12, 2),
        name="closures",
        loss=lambda output, y: torch.nn.functional.cross_entropy(output, y),
    )
    context = make_context(tmp_path, Widths(), task)
    context.workers = 2
    with pytest.raises(UsageError) as error:
        search(context)
    one_sentence(str(error.value), "closures", "--workers 1")


def test_a_job_holds_what_a_trial_needs(tmp_path: Path) -> None:
    context = make_context(tmp_path, Widths(), make_task(), objectives=("accuracy", "params<=900"))
    context.space.limit(["params<=900"], (1, 8, 8), 3)
    job = Job.of(context, Fidelity(3))
    space = job.made_space()
    assert not space._limits and context.space._limits
    other = job.context(space, 7)
    assert other.objectives == context.objectives and other.batch_size == context.batch_size
    assert other.history.path == epochs_file(context.checkpoints, 7)


def test_a_registered_space_is_sent_by_its_name(tmp_path: Path) -> None:
    context = make_context(tmp_path)
    job = pickle.loads(pickle.dumps(Job.of(context, Fidelity(1))))
    assert job.space == ("nasbench201", context.space.config)
    assert job.made_space().fingerprint == context.space.fingerprint


def test_the_bundled_data_can_be_sent(tmp_path: Path) -> None:
    task = load_task("digits")
    sent = pickle.loads(pickle.dumps(task))
    assert sent.fingerprint() == task.fingerprint()
