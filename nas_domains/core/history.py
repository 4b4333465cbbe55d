"""The one record of a run: ``history.jsonl``, a line for each scored architecture."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .errors import UsageError
from .files import finite, write_text

SEARCH = "search"
"""The stage whose records a search is chosen from."""

PREPARE = "prepare/"
"""How the stages begin that fit a pretrained network before the search."""

RANK = "rank"
"""The stage of scores in shared weights of the random architectures that are fully trained."""


@dataclass(frozen=True)
class Record:
    """One scoring of one architecture.

    Attributes:
        stage: What scored it: "search", or the row of the full training, e.g. "train/winner/0".
        step: Number within the stage: a trial of a black-box strategy, an epoch otherwise.
        architecture: Choice -> option, or None for a network that is not of the space.
        fidelity: What was spent, e.g. {"epochs": 3}.
        metrics: Name -> value; null where it could not be computed.
        seconds: Cost of this step.
        detail: Whatever else the report draws, e.g. architecture weights or the learning rate.
    """

    stage: str
    step: int
    architecture: Mapping[str, Any] | None
    fidelity: Mapping[str, Any]
    metrics: Mapping[str, float | None]
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)


class History:
    """Records in the order in which they were made, kept in a file as they come.

    A record whose stage and step are there already is not added again: a resumed run repeats steps
    that had been recorded before it was killed, and what was measured then stays.

    Args:
        path: The file; made at the first record.

    Raises:
        UsageError: A line that is not a record. A last line cut short by a kill is passed over,
            and taken out at the next :meth:`add`; reading alone changes nothing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: list[Record] = []
        self._known: dict[tuple[str, int], Record] = {}
        self._cut: int | None = None
        if path.exists():
            self._read()

    def _read(self) -> None:
        content = self.path.read_bytes()
        complete, _, rest = content.rpartition(b"\n")
        for number, line in enumerate(complete.split(b"\n") if complete else [], 1):
            try:
                record = Record(**json.loads(line))
                if (record.stage, record.step) not in self._known:
                    self._keep(record)
            except (ValueError, TypeError):
                raise UsageError(
                    f"Line {number} of {str(self.path)!r} is not a record of a run: restore the "
                    "file from a copy, or start a new run."
                ) from None
        if rest:
            self._cut = len(content) - len(rest)

    def _keep(self, record: Record) -> None:
        self.records.append(record)
        self._known[record.stage, record.step] = record

    def add(self, record: Record) -> Record:
        """Appends a record and returns it, or the one that stands already for this step."""
        known = self._known.get((record.stage, record.step))
        if known is not None:
            return known
        line = json.dumps(finite(asdict(record)), allow_nan=False) + "\n"
        try:
            if self._cut is not None:
                os.truncate(self.path, self._cut)
                self._cut = None
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise UsageError(
                f"Cannot write {str(self.path)!r} ({error.strerror}): make room, then resume."
            ) from None
        stored = Record(**json.loads(line))
        self._keep(stored)
        return stored

    def find(self, stage: str, step: int) -> Record | None:
        """The record of that stage and step, or None."""
        return self._known.get((stage, step))

    def of(self, stage: str) -> list[Record]:
        """The records of one stage, by step."""
        return sorted((r for r in self.records if r.stage == stage), key=lambda r: r.step)

    def drop(self, prefixes: tuple[str, ...]) -> None:
        """Takes out the records of stages that start anew (after the batch had to be halved).

        Args:
            prefixes: How the names of the stages begin.
        """
        kept = [r for r in self.records if not r.stage.startswith(prefixes)]
        write_text(self.path, "".join(json.dumps(asdict(r)) + "\n" for r in kept))
        self.records, self._known, self._cut = [], {}, None
        for record in kept:
            self._keep(record)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)
