"""Why the winner won, as the report draws it."""

from pathlib import Path

import nas_domains as nd
from nas_domains.core.files import write_json
from nas_domains.core.run import Run
from tests.make import Widths, make_task

from .make import make_run, page


def test_a_search_draws_what_mattered_and_names_the_runner_up(tmp_path: Path) -> None:
    run = nd.search(
        Widths(),
        make_task(),
        out=tmp_path / "run",
        strategy="random",
        budget="trials=9,epochs=1",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )
    found = run.result["explanation"]
    assert found["n"] == 9 and set(found["importance"]) == {"depth", "first", "second"}
    shown = page(run)
    assert "explanation" in shown.sections
    for text in ("Which choices mattered", "One choice of the winner changed", "the runner-up"):
        assert text in shown.text
    assert found["runner_up"]["why"] in shown.text
    # The whole space was scored.
    sources = {o["source"] for row in found["leave_one_out"] for o in row["others"]}
    assert sources == {"measured"} and "predicted, ±" not in shown.text


def test_what_was_predicted_is_told_from_what_was_scored(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run")
    choices = list(run.result["best"]["architecture"])
    other = {"option": "none", "loss": 0.02, "std": 0.01, "source": "predicted"}
    found = {
        "n": 3,
        "importance": None,
        "leave_one_out": [{"choice": choices[0], "option": "x", "others": [other]}],
        "runner_up": None,
    }
    write_json(run.path / "result.json", run.result | {"explanation": found})
    shown = page(Run.open(run.path))
    assert "predicted, ± one standard deviation" in shown.text
    assert "Which choices mattered" not in shown.text and "runner-up" not in shown.text


def test_a_result_without_an_explanation_has_no_section(tmp_path: Path) -> None:
    assert "explanation" not in page(make_run(tmp_path / "run")).sections
