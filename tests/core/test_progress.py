"""Progress: bars within bars, and silence where asked."""

import io

import pytest
from rich.console import Console

from nas_domains.core.progress import Reporter


def reporter(terminal):
    stream = io.StringIO()
    return Reporter(console=Console(file=stream, force_terminal=terminal, width=120)), stream


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_within_bars(terminal):
    shown, stream = reporter(terminal)
    with shown.bar("outer [1/2]", 2, "trials") as outer:
        for trial in range(2):
            with shown.bar("inner", 3, "steps") as inner:
                for step in range(3):
                    inner(step + 1, f"note {step}")
                    shown.say(f"line {trial}.{step}")
            outer(trial + 1, f"trial [{trial}]")
    text = stream.getvalue()
    assert all(f"line {trial}.{step}" in text for trial in range(2) for step in range(3))
    assert text.rstrip().endswith("outer [1/2]: trial [1]"), "the outermost leaves its last note"
    assert "inner: note" not in text
    with shown.bar("again", 1, "steps") as advance:
        advance(1)
    assert "again:" not in stream.getvalue(), "no note, no line"


def test_an_error_within_a_bar_comes_through_and_leaves_a_working_reporter():
    shown, stream = reporter(True)
    with pytest.raises(KeyError), shown.bar("a", 2, "steps") as advance:
        advance(1, "half way")
        with shown.bar("b", 2, "steps"):
            raise KeyError
    assert "a: half way" not in stream.getvalue().splitlines()[-1:]
    with shown.bar("c", 1, "steps") as advance:
        advance(1, "done")
    assert stream.getvalue().rstrip().endswith("c: done")


def test_quiet_prints_nothing(capsys):
    shown = Reporter(quiet=True)
    shown.say("a line")
    with shown.bar("outer", 2, "steps") as outer, shown.bar("inner", 2, "steps") as inner:
        inner(1, "x")
        outer(2, "y")
    assert capsys.readouterr() == ("", "")


def test_lines_go_to_standard_error_as_they_are(capsys):
    Reporter().say("[bold] 12 a/very/long/path/" + "x" * 200)
    out, err = capsys.readouterr()
    assert out == "" and err == "[bold] 12 a/very/long/path/" + "x" * 200 + "\n"
