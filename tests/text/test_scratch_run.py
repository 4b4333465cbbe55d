"""Whole runs of networks from scratch: searched, compared, resumed, drawn, exported, used."""

import csv
import json
from pathlib import Path

import pytest
import torch

import nas_domains as nd
from nas_domains.core.history import History
from nas_domains.core.run import Run
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.report import operators
from nas_domains.report.content import Content
from nas_domains.strategies.gradient_search import GradientSearch
from nas_domains.strategies.oneshot import OneShotSettings, PathTraining
from nas_domains.strategies.settings import GradientSettings
from nas_domains.text.scratch import text_heads
from tests.core.refusal import refused
from tests.make import make_context, stripped
from tests.text import make
from tests.text.test_spaces import folder

SPACE = "text-heads:layers=1,heads=2,width=8,feeds=4-8,vocabulary=80,max_length=16"


def search(data: Path, out: Path, **options: object) -> nd.Run:
    given = {
        "strategy": "darts",
        "objectives": ["accuracy"],
        "budget": "epochs=2",
        "train_budget": "epochs=4",
        "randoms": 1,
        "quiet": True,
        "recipe": {"lr": 1e-2, "batch_size": 16},
    }
    return nd.search(SPACE, str(data), out=out, **{**given, **options})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make.write_tsv(tmp_path_factory.mktemp("texts") / "train.tsv", 120)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> nd.Run:
    return search(data, tmp_path_factory.mktemp("runs") / "a")


def test_the_rows_of_the_result(run: nd.Run) -> None:
    result = run.result
    assert set(result["baselines"]) == {"softmax"}
    best = result["best"]["metrics"]
    history = History(run.path / "history.jsonl")
    reference = history.find("test/softmax/0", 0)
    assert reference is not None and reference.architecture is not None
    heads = [o for name, o in reference.architecture.items() if ".head" in name]
    assert "softmax" in heads and set(heads) <= {"softmax", "none"}
    space = nd.load_space(SPACE)
    task = nd.load_task(str(run.config["task"]), vocabulary=80, max_length=16)
    table = space.cost_tables(task.input_shape, 2)["params"]
    assert best["params"] == table.cost(space.architecture(result["best"]["architecture"]))
    assert run.config["recipe_used"]["optimizer"] == "adamw"
    assert run.config["task_options"] == {"vocabulary": 80, "max_length": 16}


def test_a_killed_run_ends_in_the_same_result(
    run: nd.Run, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped when the search had ended, and again behind the first trained row."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    for place, begin in (
        ("nas_domains.strategies.gradient.Gradient._warn", search),
        ("nas_domains.evaluation.compare.save_network", None),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(place, stop)
            with pytest.raises(KeyboardInterrupt):
                begin(data, tmp_path / "b") if begin else nd.resume(tmp_path / "b", quiet=True)
    again = nd.resume(tmp_path / "b", quiet=True)
    assert stripped(again.result) == stripped(run.result)


@pytest.mark.parametrize(
    ("strategy", "budget"),
    [
        ("gdas", "steps=3"),
        ("robust", "steps=2,trials=4"),
        ("darts-2nd", "steps=2"),
        ("spos", "epochs=1,trials=2"),
        ("ofa", "epochs=1,trials=2"),
        ("random", "trials=1,epochs=1"),
        ("predictor", "trials=7,epochs=1"),
        ("zero-cost", "trials=3"),
    ],
)
def test_every_kind_of_strategy_takes_the_space_and_its_limits(
    strategy: str, budget: str, data: Path, tmp_path: Path
) -> None:
    limit = 1500
    found = search(
        data,
        tmp_path / "r",
        strategy=strategy,
        budget=budget,
        train_budget="epochs=1",
        objectives=["accuracy", f"params<={limit}"],
        validate=False,
    )
    assert found.result["best"]["metrics"]["params"] <= limit
    assert found.result["limits_kept"] == {f"params<={limit}": True}


def test_shared_weights_learn_by_the_recipe(data: Path, tmp_path: Path) -> None:
    task = nd.load_task(str(data), vocabulary=80, max_length=16)
    space = text_heads(layers=1, heads=2, width=8, vocabulary=80, max_length=16)
    context = make_context(tmp_path, space, task)
    gradient = GradientSearch(context, GradientSettings(), 20)
    paths = PathTraining(context, OneShotSettings("uniform", lr=0.5, lr_batch=1024), 20)
    for training in (gradient, paths):
        assert isinstance(training.optimizer, torch.optim.AdamW)
        training.step(2)
        rates = {group["lr"] for group in training.optimizer.param_groups}
        assert rates == {task.recipe.lr}, "two steps of twenty warm up"


def test_the_report_draws_the_operator_of_each_head(run: nd.Run) -> None:
    best = run.result["best"]["architecture"]
    page = (run.path / "report.html").read_text()
    drawn = page[page.index('class="operators"') :]
    drawn = drawn[: drawn.index("</svg>")]
    for name, option in best.items():
        kind = f"{name}: {option}"
        assert drawn.count(f"<title>{kind}") == 1
        if ".head" in name:
            assert f"<title>{kind}, weight 0." in drawn
    other = make_other(run)
    assert operators.operators_panel(other) is None


def make_other(run: nd.Run) -> Content:
    """The same run, as if its space were not here."""
    content = Content(Run.open(run.path))
    content.__dict__["space"] = None
    return content


@pytest.mark.parametrize("format", ["onnx", "torch"])
def test_exports_of_any_length_hold_the_vocabulary(
    run: nd.Run, format: str, tmp_path: Path
) -> None:
    path, difference = export(run.path, format, tmp_path / "model")
    assert path.is_file() and difference <= TOLERANCE
    tokens = json.loads((run.path / "best" / "network.json").read_text())["preprocess"][
        "vocabulary"
    ]["tokens"]
    assert tokens[:4] == ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path)
        said = json.loads(session.get_modelmeta().custom_metadata_map["nas_domains"])
        assert said["preprocess"]["vocabulary"]["tokens"] == tokens
        x = torch.tensor([[2, 6, 9, 7, 3], [2, 6, 3, 0, 0]])
        (found,) = session.run(None, {"x": x.numpy()})
        with torch.no_grad():
            expected = nd.load(run.path)(x)
        assert (torch.from_numpy(found) - expected).abs().max() < 1e-5


def test_no_folder_of_transformers_is_made_of_it(run: nd.Run, tmp_path: Path) -> None:
    with refused("transformers", "onnx"):
        export(run.path, "transformers", tmp_path / "t")


def test_predictions_of_new_texts(run: nd.Run, tmp_path: Path) -> None:
    """As the network says it of the tokens that the task makes."""
    (tmp_path / "new.tsv").write_text("text\nw1 good\nbad w2 w3\n")
    assert predict(run.path, str(tmp_path / "new.tsv"), tmp_path / "p.csv", quiet=True) == 2
    with (tmp_path / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    preprocess = json.loads((run.path / "best" / "network.json").read_text())["preprocess"]
    from nas_domains.text.vocabulary import encode

    network = nd.load(run.path)
    for row, text in zip(rows, ("w1 good", "bad w2 w3"), strict=True):
        (ids,) = encode(preprocess["vocabulary"], [text], None, 16)
        with torch.no_grad():
            share = network(torch.tensor([ids])).softmax(1)[0, 1]
        assert float(row["p:yes"]) == pytest.approx(float(share), abs=2e-6)


def test_texts_without_a_space_take_this_one_and_options_must_agree(
    data: Path, tmp_path: Path
) -> None:
    task = nd.load_task(str(data), vocabulary=90, max_length=20)
    assert task.space == "text-heads:vocabulary=90,max_length=20"
    assert task.recipe.optimizer == "adamw" and "checkpoint" not in task.preprocess
    assert any("word pieces" in note for note in task.notes)
    with refused("vocabulary=90", "80"):
        search(data, tmp_path / "x", task_options={"vocabulary": 90})
    assert not (tmp_path / "x").exists()


def test_the_vocabulary_is_learnt_from_training_texts_alone(tmp_path: Path) -> None:
    make.write_tsv(tmp_path / "train.tsv", 60)
    rows = "".join(f"{y}\tqqqq {x}\n" for x, y in make.texts(30, seed=1))
    for name in ("dev.tsv", "test.tsv"):
        (tmp_path / name).write_text(f"label\ttext\n{rows}")
    task = nd.load_task(str(tmp_path), vocabulary=120)
    tokens = task.preprocess["vocabulary"]["tokens"]
    assert not any("q" in token for token in tokens[4:]) and "good" in tokens
    assert int((task.test[0][0] == 1).sum()) == 1
    (tmp_path / "train.tsv").write_text((tmp_path / "train.tsv").read_text() + "no\tzzzz zzzz\n")
    assert nd.load_task(str(tmp_path), vocabulary=120).fingerprint() != task.fingerprint()


def test_training_hides_words_and_nothing_else(data: Path) -> None:
    task = nd.load_task(str(data), vocabulary=80, hide=0.3)
    x, y = task.train.batch(range(60))
    assert task.augment is not None
    seen, labels = task.augment(x, y, torch.Generator().manual_seed(0))
    again, _ = task.augment(x, y, torch.Generator().manual_seed(0))
    changed = seen != x
    assert torch.equal(seen, again) and torch.equal(labels, y)
    assert (seen[changed] == 1).all() and (x[changed] > 3).all()
    assert float(changed.sum() / (x > 3).sum()) == pytest.approx(0.3, abs=0.08)
    assert nd.load_task(str(data), vocabulary=80, hide=0).augment is None


@pytest.mark.parametrize("option", ["vocabulary", "lower", "hide"])
def test_options_of_texts_from_scratch_do_not_go_with_a_checkpoint(
    option: str, data: Path
) -> None:
    value = {"vocabulary": 80, "lower": "true", "hide": 0.2}[option]
    with refused(option, "checkpoint"):
        nd.load_task(str(data), **{"checkpoint": folder(), option: value})


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"vocabulary": 12}, ("vocabulary=12", "64")),
        ({"vocabulary": "many"}, ("vocabulary='many'",)),
        ({"lower": "maybe"}, ("lower='maybe'", "true or false")),
        ({"hide": 1}, ("hide=1", "below 1")),
        ({"hide": "some"}, ("hide='some'",)),
        ({"checkpoint": ""}, ("checkpoint", "leave it out")),
    ],
)
def test_bad_options_are_refused(
    options: dict[str, object], names: tuple[str, ...], data: Path
) -> None:
    with refused(*names):
        nd.load_task(str(data), **options)
