"""Several processes on one machine that evaluate the trials of one search.

The parent alone proposes, tells and writes the record. A worker trains what it is handed, keeps
the epochs of its trial in a file beside the checkpoint, and sends them with the result. Where a
worker is killed, another goes on with its trial from there; where the parent is, its workers end.
"""

import contextlib
import copy
import os
import pickle
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import torch

from ..core.architecture import Option
from ..core.errors import UsageError
from ..core.evaluate import Fidelity
from ..core.history import SEARCH, History, Record
from ..core.objective import Objective
from ..core.progress import Reporter
from ..core.registry import spaces
from ..core.space import SearchSpace
from ..core.task import Task
from ..evaluation.context import PRECISIONS, Context, is_out_of_memory, make_accelerator
from .study import Proposal, RunStudy
from .trials import TrainEvaluator, epochs_file

DEATHS = 3
"""Workers that may be killed over one trial."""

Link = connection.Connection


@dataclass(frozen=True)
class Job:
    """What a worker needs of a run; see :class:`Context` and :class:`TrainEvaluator`.

    The space is sent as it is, or as the name and the sizes under which it is registered.
    """

    space: SearchSpace | tuple[str, dict[str, Any]]
    task: Task
    objectives: list[Objective]
    seed: int
    device: str
    precision: str
    batch_size: int
    checkpoints: Path
    fidelity: Fidelity
    threads: int
    told: Sequence[Mapping[str, Any]] = ()

    @staticmethod
    def of(context: Context, fidelity: Fidelity, told: Sequence[Mapping[str, Any]] = ()) -> "Job":
        """The job of a run, which can be sent to another process.

        Raises:
            UsageError: Its space or its task cannot.
        """
        space = _sendable(context.space)
        mixed = context.accelerator.mixed_precision
        job = Job(
            space,
            context.task,
            context.objectives,
            context.seed,
            context.device.type,
            next(name for name, value in PRECISIONS.items() if value == mixed),
            context.batch_size,
            context.checkpoints,
            fidelity,
            threads_each(context),
            told,
        )
        parts = (("space", context.space.name, space), ("task", context.task.name, context.task))
        for name, called, part in parts:
            try:
                pickle.dumps(part)
            except (pickle.PicklingError, AttributeError, TypeError) as error:
                raise UsageError(
                    f"The {name} {called!r} cannot be sent to other processes ({error}): "
                    "define its functions and classes at the top of a module, or use --workers 1."
                ) from None
        return job

    def made_space(self) -> SearchSpace:
        """The space; made anew where it was sent by its name."""
        if isinstance(self.space, SearchSpace):
            return self.space
        name, config = self.space
        made: SearchSpace = spaces.get(name, **config)
        return made

    def context(self, space: SearchSpace, trial: int) -> Context:
        """The context of a trial, with a record of its own."""
        return Context(
            space=space,
            task=self.task,
            objectives=self.objectives,
            seed=self.seed,
            accelerator=make_accelerator(self.device, self.precision),
            history=History(epochs_file(self.checkpoints, trial)),
            checkpoints=self.checkpoints,
            reporter=Reporter(quiet=True),
            batch_size=self.batch_size,
        )


def threads_each(context: Context) -> int:
    """Threads of a worker; all of the run's where there is one."""
    return max(1, torch.get_num_threads() // context.workers)


def _sendable(space: SearchSpace) -> SearchSpace | tuple[str, dict[str, Any]]:
    if space.name in spaces and spaces.get(space.name, **space.config).fingerprint == (
        space.fingerprint
    ):
        return space.name, space.config
    sent = copy.copy(space)
    # Limits that were made for draws; a worker draws nothing.
    sent._limits = {}
    return sent


def work(link: Link) -> None:
    """What a worker does, until the parent ends; it is told its job first."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job: Job = link.recv()
    torch.set_num_threads(job.threads)
    space = job.made_space()
    while True:
        choices, trial = link.recv()
        try:
            link.send(("done", *_evaluate(link, job, space, choices, trial)))
        except UsageError as error:
            link.send(("refused", str(error)))
        except Exception as error:  # a data set may raise anything, and the worker goes on
            link.send(("memory" if is_out_of_memory(error) else "failed", repr(error)))


def _evaluate(
    link: Link, job: Job, space: SearchSpace, choices: Mapping[str, Option], trial: int
) -> tuple[Record, list[Record]]:
    architecture = space.architecture(choices)
    context = job.context(space, trial)
    evaluator = TrainEvaluator(context, job.told)

    def stop(records: Sequence[Record]) -> bool:
        link.send(("epoch", list(records)))
        answer: bool = link.recv()
        return answer

    metrics = evaluator(architecture, job.fidelity, trial=trial, stop=stop)
    record = evaluator.record(architecture, job.fidelity, metrics, trial=trial)
    return record, list(context.history)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)


class Worker:
    """A process and what it is busy with.

    Args:
        job: What it needs of the run.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.proposal: Proposal | None = None
        self.begin()

    def begin(self) -> None:
        """Starts the process, and hands it again what the one before was busy with."""
        processes = get_context("spawn")
        self.link, theirs = processes.Pipe()
        self.process = processes.Process(target=work, args=(theirs,), daemon=True)
        with _without_ctrl_c():
            self.process.start()
        # So that the pipe ends when the worker does.
        theirs.close()
        # Not with the process: a start that fails would never read it, and this one wait for ever.
        with contextlib.suppress(OSError):
            self.link.send(self.job)
        if self.proposal is not None:
            self.hand(self.proposal)

    def hand(self, proposal: Proposal) -> None:
        """Hands it a proposal to score."""
        self.proposal = proposal
        # A worker that is gone already is found when its answer is read.
        with contextlib.suppress(OSError):
            self.link.send((dict(proposal.architecture), proposal.step - 1))

    def end(self) -> None:
        """Ends the process at once."""
        self.process.kill()
        self.process.join()
        self.link.close()


def search_with_workers(
    study: RunStudy,
    job: Job,
    total: int,
    wanted: Callable[[], bool],
    advance: Callable[[int], None],
) -> None:
    """Scores proposals in several processes until no more are wanted.

    Args:
        study: Of the run.
        job: What workers need of the run.
        total: Architectures to score in all.
        wanted: Whether more may be proposed.
        advance: Called with the number that has been scored.

    Raises:
        UsageError: What a worker says, or one trial in which workers are killed again and again.
        MemoryError: Memory ran out in a worker.
    """
    context = study.context
    deaths: Counter[int] = Counter()
    workers: list[Worker] = []
    more = True
    try:
        workers += [Worker(job) for _ in range(min(context.workers, total - study.done))]
        while True:
            for worker in workers:
                busy = sum(w.proposal is not None for w in workers)
                if worker.proposal is None and more and study.done + busy < total:
                    proposal = _new(study) if wanted() else None
                    if proposal is None:
                        more = False
                    else:
                        worker.hand(proposal)
            by_link = {w.link: w for w in workers if w.proposal is not None}
            if not by_link:
                return
            for ready in connection.wait(list(by_link)):
                assert isinstance(ready, connection.Connection)
                _listen(study, by_link[ready], deaths)
            advance(study.done)
    finally:
        for worker in workers:
            worker.end()


def _new(study: RunStudy) -> Proposal | None:
    """The next proposal that is not in the record; others are told what the record says."""
    while True:
        proposal = study.next()
        if proposal is None:
            return None
        known = study.context.history.find(SEARCH, proposal.step)
        if known is None:
            return proposal
        study.tell(proposal, known)


def _listen(study: RunStudy, worker: Worker, deaths: Counter[int]) -> None:
    """Hears what a worker says, or that it is gone."""
    context, proposal = study.context, worker.proposal
    assert proposal is not None
    trial = proposal.step - 1
    try:
        kind, *content = worker.link.recv()
        if kind == "epoch":
            worker.link.send(study.report(proposal, content[0]))
            return
    except (EOFError, OSError):
        deaths[trial] += 1
        worker.process.join(1.0)
        code = worker.process.exitcode
        worker.end()
        if code is not None and code > 0:
            raise UsageError(
                f"A worker ended by itself in trial {trial} (its last words stand above): a "
                "script that searches with workers does so behind if __name__ == '__main__'."
            ) from None
        if deaths[trial] >= DEATHS:
            raise UsageError(
                f"The workers of trial {trial} were killed {DEATHS} times: make room in memory, "
                "or use fewer --workers, then resume."
            ) from None
        context.reporter.say(f"A worker was killed: another goes on with trial {trial}.")
        worker.begin()
        return
    if kind == "memory":
        raise MemoryError(content[0])
    if kind == "refused":
        raise UsageError(content[0])
    if kind == "failed":
        raise RuntimeError(f"A worker failed in trial {trial}: {content[0]}")
    _keep(study, proposal, *content)
    worker.proposal = None


def _keep(study: RunStudy, proposal: Proposal, record: Record, epochs: list[Record]) -> None:
    context = study.context
    for epoch in epochs:
        context.history.add(epoch)
    study.tell(proposal, context.history.add(record))
    TrainEvaluator(context).clear(proposal.step - 1)
    epochs_file(context.checkpoints, proposal.step - 1).unlink(missing_ok=True)


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """A process that is started within the block leaves Ctrl-C to its parent."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: Any = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
