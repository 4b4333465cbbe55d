"""The Optuna study of a run: who proposes what next, kept so that a kill disturbs nothing."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from ..core.architecture import Architecture
from ..core.errors import UsageError
from ..core.history import SEARCH, History, Record
from ..core.limit import Limit
from ..core.run import STUDY
from ..core.seeds import derive
from ..evaluation.context import Context
from .samplers.base import suggest
from .trials import epochs_file, stage_of

__all__ = [
    "Proposal",
    "RunStudy",
    "forget",
    "open_storage",
    "quiet_optuna",
    "storage_url",
    "whole_url",
]

REPEATS = 20
"""Proposals in a row that were scored already, after which a new architecture is drawn."""
DRAWS = 200
"""Draws for an architecture that was not scored yet."""
WHOLE = 20_000
"""Architectures of a space up to which all are looked at where the draws find no new one."""
STEP, AGAIN, RUN = "step", "again", "run"
"""What is noted of trials: their step of the record, or that of the same architecture before;
and of a study: the folder of its run."""


@dataclass(frozen=True)
class Proposal:
    """An architecture to be scored.

    Attributes:
        trial: Optuna's.
        step: Of the record under the stage "search", from 1.
        architecture: What to score.
    """

    trial: Trial
    step: int
    architecture: Architecture


class RunStudy:
    """The study of a run, from which proposals come and to which their scores are told.

    ``history.jsonl`` is the record; the study is what Optuna needs to propose. A trial that was
    running when the process was killed is taken up again under its own number, so that with one
    worker a resumed search repeats one that was never stopped. A study that was lost is made again
    from the record.

    No architecture is scored twice: where one is proposed again, the study is told its score, at
    no cost, and the sampler is asked for another. After ``REPEATS`` such proposals in a row a new
    one is drawn at random from what keeps the limit.

    Args:
        context: Of the run.
        sampler: Proposes.
        limit: What is drawn at random keeps it.
        pruner: Decides which trials go on.

    Attributes:
        done: Architectures that were scored.
        refused: Architectures that were not, as they broke a limit.

    Raises:
        UsageError: A storage that cannot be opened, or a study that is not of this run.
    """

    def __init__(
        self,
        context: Context,
        sampler: optuna.samplers.BaseSampler,
        limit: Limit | None,
        pruner: optuna.pruners.BasePruner | None = None,
    ) -> None:
        self.context, self.limit = context, limit
        self.storage = open_storage(storage_url(context))
        self.study = optuna.create_study(
            storage=self.storage,
            study_name=_folder(context).resolve().name,
            directions=["maximize" if g.direction == "max" else "minimize" for g in context.goals],
            sampler=sampler,
            pruner=pruner or optuna.pruners.NopPruner(),
            load_if_exists=True,
        )
        self.steps: dict[Architecture, int] = {}
        self.running: list[Trial] = []
        self.repeats = self.done = self.refused = 0
        self._take_up()

    def _take_up(self) -> None:
        """Reads what the study holds, and begins it where it is new."""
        folder = str(_folder(self.context).resolve())
        owner = self.study.user_attrs.get(RUN)
        trials = self.study.get_trials(deepcopy=False)
        if self.context.storage and owner != folder and (owner or trials):
            raise UsageError(
                f"The storage {self.context.storage!r} holds a study {self.study.study_name!r} "
                f"of another run ({owner or 'not of nas_domains'}): choose another --storage, or "
                "give --out another name."
            )
        if owner != folder:
            self.study.set_user_attr(RUN, folder)
        # In order of their steps, which is that of their numbers with one worker.
        for trial in sorted(trials, key=lambda t: t.user_attrs.get(STEP, 0)):
            if STEP in trial.user_attrs:
                step = trial.user_attrs[STEP]
                if trial.state.is_finished() and self._record(step) is None:
                    raise UsageError(
                        f"The study {self.study.study_name!r} holds the step {step}, which the "
                        f"record {str(self.context.history.path)!r} does not: restore it from a "
                        "copy, or start a new run."
                    )
                self.steps[self._architecture(trial)] = step
                if trial.state.is_finished():
                    self._count(step)
        for trial in trials:
            if trial.state is TrialState.RUNNING:
                self.running.append(Trial(self.study, trial._trial_id))
            elif trial.state.is_finished():
                self.repeats = self.repeats + 1 if AGAIN in trial.user_attrs else 0
        priors = [a for a in self.context.priors if self.limit is None or self.limit.allows(a)]
        for architecture in priors[len(trials) :]:
            self._enqueue(architecture)

    def next(self) -> Proposal | None:
        """The next architecture to score, which may be in the record already.

        Returns:
            None where every architecture that keeps the limit has been proposed.
        """
        while True:
            trial = self.running.pop(0) if self.running else self._ask()
            if trial is None:
                return None
            architecture = suggest(self.context.space, trial)
            step = trial.user_attrs.get(STEP)
            if step is None and architecture in self.steps:
                self._repeat(trial, self.steps[architecture])
                continue
            if step is None:
                step = len(self.steps) + 1
                record = self._begun(step)
                if record is not None and record.architecture != dict(architecture):
                    # The study was lost, and made again in another order.
                    self.study.tell(trial, state=TrialState.FAIL)
                    self._enqueue(self.context.space.architecture(record.architecture or {}))
                    continue
                trial.set_user_attr(STEP, step)
                self.steps[architecture] = step
            self.repeats = 0
            return Proposal(trial, step, architecture)

    def tell(self, proposal: Proposal, record: Record) -> None:
        """Tells what a proposal scored; a missing score as that of a trial that was stopped."""
        self.report(proposal, self.context.history.of(stage_of(proposal.step - 1)))
        self._tell(proposal.trial, record)
        self._count(proposal.step)

    def _count(self, step: int) -> None:
        record = self._record(step)
        assert record is not None
        if record.detail.get("refused"):
            self.refused += 1
        else:
            self.done += 1

    def report(self, proposal: Proposal, records: Sequence[Record]) -> bool:
        """Tells the scores of a trial's epochs; whether the pruner ends it there."""
        if len(self.context.goals) > 1 or isinstance(self.study.pruner, optuna.pruners.NopPruner):
            return False
        trial, goal = proposal.trial, self.context.goal
        frozen = self.storage.get_trial(trial._trial_id)
        for record in records:
            value = record.metrics.get(goal.metric)
            if record.step not in frozen.intermediate_values and value is not None:
                trial.report(value, record.step)
        return bool(records) and trial.should_prune()

    def close(self) -> None:
        """Lets go of the storage."""
        self.storage.remove_session()
        self.storage.engine.dispose()

    def _ask(self) -> Trial | None:
        if self.repeats >= REPEATS and not self.study.get_trials(
            deepcopy=False, states=(TrialState.WAITING,)
        ):
            architecture = self._unseen()
            if architecture is None:
                return None
            self._enqueue(architecture)
        return self.study.ask()

    def _unseen(self) -> Architecture | None:
        """An architecture that keeps the limit and was not proposed yet, or None."""
        space, limit = self.context.space, self.limit
        number = len(self.study.get_trials(deepcopy=False))
        rng = np.random.default_rng(derive(self.context.seed, SEARCH, "unseen", number))
        for architecture in space.sample(DRAWS, rng, limit):
            if architecture not in self.steps:
                return architecture
        if space.size() > WHOLE:
            return None
        for architecture in space:
            if architecture not in self.steps and (limit is None or limit.allows(architecture)):
                return architecture
        return None

    def _enqueue(self, architecture: Architecture) -> None:
        first = {choice.name: choice.options[0] for choice in self.context.space.choices}
        self.study.enqueue_trial(first | dict(architecture))

    def _repeat(self, trial: Trial, step: int) -> None:
        record = self._record(step)
        trial.set_user_attr(AGAIN, step)
        if record is None:
            # It is being scored by another worker.
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self._tell(trial, record)
        self.repeats += 1

    def _tell(self, trial: Trial, record: Record) -> None:
        for name, value in record.metrics.items():
            trial.set_user_attr(name, value)
        values = [record.metrics.get(goal.metric) for goal in self.context.goals]
        scores = [value for value in values if value is not None]
        if record.detail.get("stopped") or len(scores) < len(values):
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, scores)

    def _record(self, step: int) -> Record | None:
        return self.context.history.find(SEARCH, step)

    def _begun(self, step: int) -> Record | None:
        """The record of a step, or the first of its trial where that has not ended."""
        stage, trial = f"{stage_of(step - 1)}/costs", step - 1
        known = self._record(step) or self.context.history.find(stage, 0)
        path = epochs_file(self.context.checkpoints, trial)
        return known or (History(path).find(stage, 0) if path.exists() else None)

    def _architecture(self, trial: FrozenTrial) -> Architecture:
        return suggest(self.context.space, optuna.trial.FixedTrial(trial.params))


def storage_url(context: Context) -> str:
    """The storage that was asked for, or the file beside the record."""
    if context.storage:
        return context.storage
    path = _folder(context) / STUDY
    return URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)


def _folder(context: Context) -> Path:
    return context.history.path.parent


def open_storage(url: str) -> RDBStorage:
    """Opens Optuna's storage.

    Raises:
        UsageError: It cannot be opened.
    """
    # A killed process loses nothing by it, and the study can be made again from the record.
    fast = {"pool_events": [(_without_waiting, "connect")]} if url.startswith("sqlite") else {}
    try:
        return RDBStorage(url, engine_kwargs=fast)
    except (SQLAlchemyError, ImportError, ValueError, RuntimeError) as error:
        reason = str(getattr(error, "orig", None) or error).strip().splitlines()[0].rstrip(".")
        raise UsageError(
            f"Cannot open the storage {url!r} ({reason}): name one as "
            "--storage sqlite:///study.db or postgresql://host/database."
        ) from None


def whole_url(url: str) -> str:
    """A storage's URL with the full path of SQLite's file, so that a run resumes from any folder.

    What is no URL stays as it is.
    """
    try:
        parts = make_url(url)
    except ArgumentError:
        return url
    if parts.get_backend_name() != "sqlite" or parts.database in (None, "", ":memory:"):
        return url
    path = os.path.abspath(str(parts.database))
    return parts.set(database=path).render_as_string(hide_password=False)


def _without_waiting(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def forget(url: str, folder: Path) -> None:
    """Deletes the study of the run in a folder, whose search begins anew or not at all.

    Args:
        url: Of the storage; a study that another run has there stays.
        folder: Of the run.
    """
    storage = open_storage(url)
    name, owner = folder.resolve().name, str(folder.resolve())
    for study in storage.get_all_studies():
        if study.study_name == name and study.user_attrs.get(RUN) == owner:
            optuna.delete_study(study_name=name, storage=storage)
    storage.engine.dispose()


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Optuna says nothing of single trials within the block."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)

