"""What a person sees while a run works: bars with the time left, and lines worth keeping."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Advance(Protocol):
    """Moves a bar: how many steps are done, and a few words on how it goes."""

    def __call__(self, done: int, note: str = "") -> None: ...


class Reporter:
    """Shows progress on a console; silent where ``quiet``.

    Args:
        quiet: Show nothing.
        console: Where to; standard error by default, so that results can be piped.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True, quiet=quiet)

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self.console.print(text, highlight=False, markup=False)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """A bar with the time left; on leaving it prints its last note as a line.

        Args:
            title: What is being done.
            total: Number of steps.
            unit: What a step is, e.g. "steps".
        """
        columns = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        last = ""
        with Progress(*columns, console=self.console, transient=True) as progress:
            bar = progress.add_task(title, total=total, note="")

            def advance(done: int, note: str = "") -> None:
                nonlocal last
                last = note or last
                progress.update(bar, completed=done, note=last)

            yield advance
        self.say(f"{title}: {last}" if last else title)
