"""The report of a run: one HTML file that opens without a server or a network."""

from pathlib import Path

from ..core.files import write_text
from ..core.run import Run

__all__ = ["write_report"]


def write_report(run: Run) -> Path:
    """Writes ``report.html`` into the run's directory, from the run's own files alone.

    Args:
        run: Finished or not; of an unfinished one the report says what is known so far.

    Returns:
        The path of the report.

    Raises:
        UsageError: A file of the run is damaged, or the report cannot be written.
    """
    from .page import render

    path = run.path / "report.html"
    write_text(path, render(run))
    return path
