"""The report says what the run's files say, and nothing that needs a network."""

import json
import re
from xml.etree import ElementTree

import pytest

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.run import Run
from nas_domains.testing.strategies import bars_task

from .make import config, make_run, page, train_row


@pytest.fixture(scope="module")
def searched(tmp_path_factory):
    """A real DARTS run of a few seconds."""
    return nd.search(
        "darts:cells=2,channels=4",
        "digits",
        out=tmp_path_factory.mktemp("runs") / "real",
        strategy="darts",
        budget="steps=2",
        train_budget="epochs=1",
        randoms=1,
        quiet=True,
    )


def test_numbers_are_those_of_the_result_of_a_real_search(searched):
    result = json.loads((searched.path / "result.json").read_text())
    read = page(searched)
    order = ["accuracy", "auc", "f1", "loss"]
    rows = {"winner": result["best"]["metrics"], **result["baselines"]}
    rows |= {f"random {i}": m for i, m in enumerate(result["random_baseline"]["metrics"])}
    for name, metrics in rows.items():
        values = read.row(name)
        assert values[:4] == [metrics[m] for m in order]
        assert values[5:8] == [metrics[m] for m in ("params", "macs", "latency_ms")]
        test = searched.history.find(f"test/{name.replace(' ', '/')}/0", 0)
        assert values[4] == test.detail["validation"]["accuracy"]
        assert values[8:10] == [test.fidelity["epochs"], test.detail["train_seconds"]]
    assert f"{100 * rows['winner']['accuracy']:.2f} %" in read.text
    assert read.sections == ["comparison", "architecture", "search", "training", "weights", "cost"]


def test_real_search_draws_both_cells_and_all_edges(searched):
    read = page(searched)
    assert sum('class="cell"' in d for d in read.drawings) == 2
    assert sum('class="panel"' in d for d in read.drawings) == 28
    chosen = {v for k, v in searched.best.architecture.items() if not k.endswith("inputs")}
    pills = [d for d in read.drawings if 'class="cell"' in d]
    assert all(any(f">{name}</text>" in d for d in pills) for name in chosen)


def test_what_was_tried_out_is_a_chart_of_its_own(tmp_path):
    run = nd.search(
        "nasbench201:cells=1,channels=2",
        bars_task(),
        out=tmp_path / "a",
        strategy="robust",
        budget="steps=2,trials=6",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )
    read, tried = page(run), [r for r in run.history.of("search") if "selection" in r.fidelity]
    assert "What was tried out" in read.text
    (chart,) = [d for d in read.drawings if "naswot" in d]
    assert chart.count("uniform draw: loss") == 2 and chart.count("found: loss") == 4
    assert "the winner" in chart and len(tried) == 6 + 1
    # The front is of the finals alone, as a supernet's scores do not compare with theirs.
    assert [dict(m.architecture) for m in run.pareto] == [dict(run.best.architecture)]


def test_writing_again_gives_the_same_bytes_and_leaves_no_other_file(searched):
    before = searched.report().read_bytes()
    names = {p.name for p in searched.path.iterdir()}
    assert searched.report().read_bytes() == before
    assert {p.name for p in searched.path.iterdir()} == names


@pytest.mark.parametrize("kind", ["real", "made"])
def test_nothing_is_loaded_from_elsewhere_and_drawings_are_well_formed(kind, searched, tmp_path):
    run = searched if kind == "real" else make_run(tmp_path / "run")
    read = page(run)
    assert not re.search(r"https?:|//|url\(|@import|<script|<link", read.html)
    assert not {"src", "href", "xlink:href", "srcset"} & {name for name, _ in read.attributes}
    assert read.drawings
    for drawing in read.drawings:
        ElementTree.fromstring(drawing)
        assert "nan" not in drawing.lower()


@pytest.mark.parametrize(
    ("difference", "error", "tone", "sentence"),
    [
        (0.08, 0.03, "good", "It beats the mean of 2 random architectures: +8.00 ± 3.00"),
        (0.08, 0.05, "good", "more than one standard error, which is weak evidence"),
        (0.02, 0.03, "even", "does not beat the mean of 2 random architectures by more than"),
        (-0.02, 0.03, "even", "\N{MINUS SIGN}2.00 ± 3.00 percentage points"),
        (0.03, 0.03, "even", "does not beat"),
        (0.0, 0.0, "even", "does not beat"),
        (-0.08, 0.03, "bad", "is worse than the mean of 2 random architectures by more than"),
        (0.08, None, "even", "the spread is not known, so nothing can be concluded"),
        (None, None, "even", "a score is missing"),
    ],
)
def test_headline_says_whether_the_winner_beats_random(
    difference, error, tone, sentence, tmp_path
):
    read = page(make_run(tmp_path / "run", difference=difference, error=error))
    assert len(read.points) == 1
    assert read.points[0][0] == tone
    assert sentence in read.points[0][1]
    assert "one standard error, n = 2" in read.points[0][1] or error is None


@pytest.mark.parametrize(
    ("accuracy", "tone", "sentence"),
    [
        (0.95, "bad", "The hand-made net is better than the winner: 95.00 % against 90.00 %"),
        (0.85, "good", "The winner is better than the hand-made net: 90.00 % against 85.00 %"),
        (0.9, "even", "The hand-made net scores the same"),
        (None, "even", "The comparison with net (hand-made) lacks a score"),
    ],
)
def test_headline_says_as_plainly_whether_a_hand_made_network_is_better(
    accuracy, tone, sentence, tmp_path
):
    read = page(make_run(tmp_path / "run", hand={"net": (accuracy,)}))
    assert read.points[1][0] == tone
    assert sentence in read.points[1][1]


def test_metric_that_is_made_small_counts_as_better_when_smaller(tmp_path):
    settings = config(objectives=["loss"])
    read = page(make_run(tmp_path / "run", settings, difference=0.2, error=0.1))
    assert "+0.2000 ± 0.1000 in loss" in read.points[0][1]
    assert read.points[0][0] == "good"
    assert "Test loss 0.5000 on digits" in read.text


def test_without_validation_it_says_that_nothing_was_compared(tmp_path):
    read = page(make_run(tmp_path / "run", config(validate=False), randoms=()))
    ((tone, sentence),) = read.points
    assert tone == "open"
    assert "was not run" in sentence
    assert read.row("winner")[0] == 0.9
    assert not any(name.startswith("random") for name, _ in read.rows)
    assert "--no-validate" in read.text


def test_several_seeds_show_their_spread_and_each_training(tmp_path):
    settings = config(train_seeds=2)
    read = page(
        make_run(tmp_path / "run", settings, winner=(0.88, 0.92), randoms=((0.8, 0.7),) * 2)
    )
    assert read.row("winner")[:2] == [0.9, pytest.approx(0.04 / 2**0.5)]
    assert "means over 2 seeds" in read.text
    assert "the mean of 2 trainings" in read.text
    strip = next(d for d in read.drawings if "of each training" in d)
    assert len(re.findall(r'class="dot ', strip)) == 6


def test_unfinished_run_reports_what_is_known_and_says_so(tmp_path):
    read = page(make_run(tmp_path / "run", winner=(), randoms=(), finish=False))
    assert "is not finished" in read.text
    assert "3 records; the best accuracy on validation is 60.00 %" in read.text
    assert "No winner is tested yet" in read.text
    assert "nas-domains resume run" in read.text
    assert "The architecture that leads so far" in read.text
    assert "comparison" not in read.sections


def test_unfinished_run_with_tested_rows_makes_no_comparison_yet(tmp_path):
    read = page(make_run(tmp_path / "run", finish=False, randoms=((0.8,),)))
    assert "So far the winner's test accuracy is 90.00 %" in read.text
    assert "Fully trained with at least one seed: winner and random 0" in read.text
    assert read.row("winner")[0] == 0.9
    assert {tone for tone, _ in read.points} == {"open"}


def test_run_without_any_record_has_a_report(tmp_path):
    run = Run.create(tmp_path / "run", {k: v for k, v in config().items() if k != "plan"})
    run.unlock()
    read = page(run)
    assert "The search has no record yet" in read.text
    assert read.sections == ["cost"]


def test_several_objectives_draw_and_list_the_front(tmp_path):
    settings = config(objectives=["accuracy", "latency_ms<=2.5"])
    run = make_run(tmp_path / "run", settings)
    read = page(run)
    assert "pareto" in read.sections
    front = [values for name, values in read.rows if not name and values]
    assert [v[:2] for v in front] == [[0.5, 1.0], [0.6, 2.0]]
    scatter = next(d for d in read.drawings if "accuracy over latency" in d)
    assert scatter.count('class="dot winner"') == 2
    assert scatter.count('class="dot ring"') == 1
    assert 'class="limit"' in scatter
    assert "breaks a limit" in read.text


def test_metrics_that_are_missing_are_dashes_and_not_drawn(tmp_path):
    run = make_run(
        tmp_path / "run",
        search=(None, 0.6, None),
        winner=(None,),
        randoms=((None,), (0.8,)),
        difference=None,
        error=None,
    )
    read = page(run)
    assert "Test accuracy not known on digits" in read.text
    assert None not in read.values
    assert read.row("winner")[0] == 0.9  # The AUC stands first, as the accuracy is a dash.
    strip = next(d for d in read.drawings if "of each training" in d)
    assert len(re.findall(r'class="dot ', strip)) == 1


def test_long_training_leaves_out_its_steep_start_and_says_so(tmp_path):
    run = make_run(tmp_path / "run", winner=(), randoms=(), finish=False)
    train_row(run, "winner", (0.9,), None, epochs=10)
    read = page(run)
    assert "The first 2 epochs are left out." in read.text
    chart = next(d for d in read.drawings if "Training loss" in d)
    assert chart.count("<circle") == 8


def test_space_that_is_not_registered_shows_its_choices(tmp_path):
    run = make_run(tmp_path / "run")
    run.config["space"] = "mine"
    run.save_config()
    read = page(Run.open(run.path))
    assert "its choices are listed" in read.text
    assert "0->1" in read.text
    assert not any('class="cell"' in d for d in read.drawings)
    assert "no command line repeats this run" in read.text


def test_text_of_the_user_is_escaped_everywhere(tmp_path):
    evil = "<img src=x onerror=alert(1)>&\"'"
    settings = config(task_name=evil, task_options={"split": evil}, strategy=evil)
    run = make_run(tmp_path / "<b>run", settings, hand={evil: (0.95,)})
    run.config["space"] = evil
    run.save_config()
    html = Run.open(run.path).report().read_text(encoding="utf-8")
    assert "<img" not in html
    assert "<b>" not in html
    assert "&lt;img src=x onerror=alert(1)&gt;" in html


def test_control_characters_cannot_break_a_drawing(tmp_path):
    read = page(make_run(tmp_path / "run", hand={"a\x07b\x00c": (0.95,)}))
    for drawing in read.drawings:
        ElementTree.fromstring(drawing)


def test_damaged_environment_is_one_sentence(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "environment.json").write_text("[")
    with pytest.raises(UsageError, match=r"environment\.json' is damaged"):
        run.report()


def test_halved_batch_is_said_where_the_config_tells(tmp_path):
    settings = config(recipe_used={"batch_size": 64, "lr": 0.1})
    settings["plan"] = settings["plan"] | {"batch_size": 32}
    assert (
        "32, halved from 64 as memory ran out" in page(make_run(tmp_path / "run", settings)).text
    )
