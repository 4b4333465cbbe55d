"""A run: the directory of one search."""

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from filelock import FileLock, Timeout

from .architecture import Architecture
from .errors import UsageError
from .files import PART, plain, write_json, write_text
from .history import History

CONFIG, RESULT, HISTORY, LOCK = "config.yaml", "result.json", "history.jsonl", "lock"
ENVIRONMENT, REPORT = "environment.json", "report.html"
CHECKPOINTS, BEST = "checkpoints", "best"
STUDY = "study.db"
"""Optuna's storage of a black-box search."""


class Scored(NamedTuple):
    """An architecture and what it scored."""

    architecture: Architecture
    metrics: dict[str, float | None]


class Run:
    """The directory of one search: config, history, checkpoints, best network, result, report.

    Use :meth:`create` for a new one and :meth:`open` for one that exists.

    Attributes:
        path: The directory.
        config: What was asked for, the environment-independent part, and the plan once it is made.
    """

    def __init__(self, path: Path, config: dict[str, Any]) -> None:
        self.path = path
        self.config = config
        self._lock: FileLock | None = None
        self._made = False

    @staticmethod
    def create(path: str | Path, config: Mapping[str, Any]) -> "Run":
        """Makes the directory, locks it and writes the configuration.

        Raises:
            UsageError: It holds a run or other files already, is in use, or cannot be written.
        """
        path = Path(path)
        _check_free(path)
        made = not os.path.exists(path)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UsageError(
                f"Cannot make the run directory {str(path)!r} ({reason}): choose another --out."
            ) from None
        run = Run(path, plain(config))
        run._made = made
        try:
            run.lock()
            _check_free(path)
            run.save_config()
        except UsageError:
            # Where another process was faster the lock is not ours to take away.
            ours = run._lock is not None
            run.unlock()
            if ours:
                (path / LOCK).unlink(missing_ok=True)
            if ours and made:
                path.rmdir()
            raise
        return run

    @staticmethod
    def open(path: str | Path) -> "Run":
        """Reads a run that exists; it is not locked.

        Raises:
            UsageError: No run there, or a configuration that cannot be read.
        """
        path = Path(path)
        if not os.path.isfile(path / CONFIG):
            raise UsageError(f"There is no run in {str(path)!r}: it has no {CONFIG}.")
        try:
            config = yaml.safe_load((path / CONFIG).read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError, OSError):
            config = None
        if not isinstance(config, dict) or "space" not in config:
            raise UsageError(
                f"{str(path / CONFIG)!r} is not the configuration of a run: restore it from a "
                "copy, or start a new run."
            )
        return Run(path, config)

    def lock(self) -> None:
        """Takes the directory for this process.

        Raises:
            UsageError: Another process has it, or the directory cannot be written.
        """
        lock = FileLock(self.path / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise UsageError(
                f"The run {str(self.path)!r} is in use by another process: wait for it, or choose "
                "another --out."
            ) from None
        except OSError as error:
            raise UsageError(
                f"Cannot write in {str(self.path)!r} ({error.strerror}): choose another --out."
            ) from None
        self._lock = lock
        # What a kill left of a file that was being written; see write_atomic.
        for part in self.path.rglob(f".*{PART}"):
            part.unlink(missing_ok=True)

    def unlock(self) -> None:
        """Gives the directory back."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Removes what a run that could not begin has written, and the folder if it made it."""
        self.unlock()
        for name in (CONFIG, HISTORY, LOCK, ENVIRONMENT, STUDY):
            (self.path / name).unlink(missing_ok=True)
        for name in (CHECKPOINTS, BEST):
            shutil.rmtree(self.path / name, ignore_errors=True)
        if self._made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def save_config(self) -> None:
        """Writes ``config.yaml``."""
        write_text(self.path / CONFIG, yaml.safe_dump(self.config, sort_keys=False))

    @cached_property
    def history(self) -> History:
        """The record of every scored architecture."""
        return History(self.path / HISTORY)

    def folder(self, name: str) -> Path:
        """A sub-directory, made if it is not there."""
        folder = self.path / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    @property
    def finished(self) -> bool:
        """Whether the result is there."""
        return (self.path / RESULT).is_file()

    @property
    def result(self) -> dict[str, Any]:
        """The content of ``result.json``.

        Raises:
            UsageError: The run has not finished, or the file is damaged.
        """
        if not self.finished:
            raise UsageError(
                f"The run {str(self.path)!r} has no result yet: nas-domains resume {self.path} "
                "goes on with it."
            )
        try:
            content = json.loads((self.path / RESULT).read_text(encoding="utf-8"))
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise UsageError(
                f"{str(self.path / RESULT)!r} is damaged: delete it and resume the run."
            )
        return content

    def save_result(self, result: Mapping[str, Any]) -> None:
        """Writes ``result.json``, whose presence says that the run has finished."""
        write_json(self.path / RESULT, dict(result))

    @property
    def best(self) -> Scored:
        """The winner, with its metrics on the test split."""
        return self._scored(self.result["best"])

    @property
    def pareto(self) -> list[Scored]:
        """The searched architectures that no other dominates, with the search's own metrics."""
        return [self._scored(point) for point in self.result["pareto"]]

    def _scored(self, content: Mapping[str, Any]) -> Scored:
        choices = tuple(content["architecture"].items())
        return Scored(Architecture(choices, self.config["space_fingerprint"]), content["metrics"])

    def report(self) -> Path:
        """Writes ``report.html`` and returns its path."""
        from .registry import actions

        path: Path = actions.load("report")(self)
        return path


def _check_free(path: Path) -> None:
    # os.path, as pathlib raises where a name is too long.
    if not os.path.exists(path):
        return
    if not path.is_dir():
        raise UsageError(f"{str(path)!r} is a file: choose another --out.")
    if not os.access(path, os.W_OK | os.X_OK):
        raise UsageError(f"Cannot write in {str(path)!r}: choose another --out.")
    if (path / RESULT).exists():
        raise UsageError(
            f"{str(path)!r} holds a finished run: nas-domains report {path} shows it, "
            "another --out starts a new one."
        )
    if (path / CONFIG).exists():
        raise UsageError(
            f"{str(path)!r} holds a run that has not finished: nas-domains resume {path} goes on "
            "with it, another --out starts a new one."
        )
    # What a kill left of the very first write is no one's.
    if any(e.name != LOCK and not e.name.endswith(PART) for e in path.iterdir()):
        raise UsageError(f"{str(path)!r} is not empty: choose another --out.")
