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
        self._live: Progress | None = None

    def say(self, text: str) -> None:
        """Prints a line that stays."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, unit: str) -> Iterator[Advance]:
        """A bar with the time left; the outermost prints its last note as a line at its end.

        Args:
            title: What is being done.
            total: Number of steps.
            unit: What a step is, e.g. "steps".
        """
        outer = self._live
        live = outer or Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),
            console=self.console,
            transient=True,
            # Without a terminal a bar would be noise; the lines that stay are enough.
            disable=not self.console.is_terminal,
        )
        last = ""
        if outer is None:
            live.start()
            self._live = live
        task = live.add_task(title, total=total, note="", unit=unit)

        def advance(done: int, note: str = "") -> None:
            nonlocal last
            last = note or last
            live.update(task, completed=done, note=last)

        try:
            yield advance
        finally:
            live.remove_task(task)
            if outer is None:
                live.stop()
                self._live = None
        if outer is None and last:
            self.say(f"{title}: {last}")
