"""A whole run on volumes: search, comparison, report, masks; and going on after a stop."""

import json
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

import nas_domains as nd
from nas_domains.cli import main
from nas_domains.core.errors import UsageError
from nas_domains.core.progress import Reporter
from nas_domains.evaluation.score import evaluate, evaluate_test
from nas_domains.evaluation.train import fresh, train
from nas_domains.export.formats import TOLERANCE, export
from nas_domains.export.predict import predict
from nas_domains.medical.masks import mask_type, write_masks
from tests.conftest import SHARED, needs_shared
from tests.export.test_monai_bundle import run_bundle
from tests.make import make_context, stopped_after
from tests.medical.make import write_folder

SPACE = "unet:channels=4-6-8,depths=2-3"


@pytest.fixture(scope="module")
def run(balls, tmp_path_factory):
    """The run of a tiny search."""
    return nd.search(
        SPACE,
        str(balls),
        out=tmp_path_factory.mktemp("run") / "balls",
        strategy="random",
        budget="trials=2,epochs=1",
        train_budget="epochs=2",
        randoms=1,
        recipe={"batch_size": 2},
        task_options={"patches": 1},
        quiet=True,
    )


def test_the_result_compares_all_networks(run):
    result = run.result
    assert set(result["baselines"]) == {"unet", "segresnet", "dynunet"}
    for metrics in (result["best"]["metrics"], *result["baselines"].values()):
        assert 0 <= metrics["dice"] <= 1 and metrics["hd95_mm"] >= 0
        assert metrics["params"] > 0 and metrics["latency_ms"] > 0
    losses = [r.detail["train_loss"] for r in run.history.of("train/unet/0")]
    assert losses[-1] < losses[0], "nothing was learnt"
    assert run.config["classes"] == ["background", "class1", "class2"]


def test_the_report_shows_cases_pairs_and_pictures(run):
    page = (run.path / "report.html").read_text()
    assert "Test cases of the winner, worst first" in page
    assert "ball_10" in page and "Dice, class1" in page and "Hausdorff distance" in page
    assert "Winner minus segresnet" in page and "paired over 2 cases" in page
    assert page.count("data:image/png;base64,") == 2
    assert "voxels" in page and "http://" not in page.replace("http://www.w3.org", "")
    record = run.history.find("test/winner/0", 0)
    dice = np.array(record.detail["samples"]["dice"], float)
    assert dice.shape == (2, 2)
    assert np.nanmean(dice) == pytest.approx(record.metrics["dice"], abs=1e-6)


def test_masks_lie_where_their_images_lie(run, tmp_path):
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -1.5, 2.0, 1.0, 1.0
    affine[:3, 3] = 7, -8, 9
    folder = write_folder(tmp_path / "new", 2, affine=affine) / "imagesTr"
    assert predict(run.path, str(folder), tmp_path / "masks", quiet=True) == 2
    for path in sorted(folder.iterdir()):
        image, mask = (nibabel.load(p) for p in (path, tmp_path / "masks" / path.name))
        assert mask.shape == image.shape and mask.get_data_dtype() == np.uint8
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-6)
        assert set(np.unique(mask.dataobj)) <= {0, 1, 2}


def test_a_mask_is_what_the_test_scored(run, balls, tmp_path):
    """Reading, preparing, restoring and writing leave the classes of the volume as they are."""
    path = balls / "imagesTr" / "ball_10.nii.gz"
    predict(run.path, str(path), tmp_path / "masks", quiet=True)
    mask = np.asarray(nibabel.load(tmp_path / "masks" / path.name).dataobj)
    truth = np.asarray(nibabel.load(balls / "labelsTr" / path.name).dataobj)
    scored = run.history.find("test/winner/0", 0).detail["samples"]
    for number, expected in enumerate(scored["dice"][scored["names"].index("ball_10")], 1):
        a, b = mask == number, truth == number
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) == pytest.approx(expected, abs=1e-6)


def test_the_test_is_scored_in_the_voxels_of_the_files(tmp_path):
    """Resampled, turned and cropped volumes count as a user sees them: as masks do."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -1.5, 2.0, 1.0, 1.0
    folder = write_folder(tmp_path / "data", 8, affine=affine)
    task = nd.load_task(str(folder), spacing="1.3x1.3x1.3", patches=1)
    space = nd.load_space(SPACE)
    torch.manual_seed(0)
    network = space.build(space.sample(1)[0], task.input_shape, task.outputs)
    metrics, each = evaluate_test(network, make_context(tmp_path, space, task))
    images = tmp_path / "images"
    images.mkdir()
    for name in each["names"]:
        shutil.copy(folder / "imagesTr" / f"{name}.nii.gz", images)
    write_masks(network.eval(), str(images), task.preprocess, tmp_path / "masks", Reporter(True))
    for name, found in zip(each["names"], each["dice"], strict=True):
        mask, truth = (
            np.asarray(nibabel.load(place / f"{name}.nii.gz").dataobj)
            for place in (tmp_path / "masks", folder / "labelsTr")
        )
        for number, dice in enumerate(found, 1):
            a, b = mask == number, truth == number
            assert 2 * (a & b).sum() / (a.sum() + b.sum()) == pytest.approx(dice, abs=1e-6)
    prepared = evaluate(network, task.test, make_context(tmp_path, space, task))
    assert prepared["dice"] != metrics["dice"] and prepared["loss"] == metrics["loss"]


@pytest.mark.parametrize(
    ("source", "out", "said"),
    [
        ("none", "masks", "No such file"),
        ("", "masks", "holds no NIfTI"),
        ("a.nii.gz", "masks", "empty file"),
        ("a.txt", "masks", "by its ending"),
        ("a.nii.gz", "p.csv", "--out masks/"),
    ],
)
def test_bad_scans(run, tmp_path, source, out, said):
    (tmp_path / "in").mkdir()
    for name in ("a.nii.gz", "a.txt") if source else ():
        (tmp_path / "in" / name).touch()
    with pytest.raises(UsageError) as caught:
        predict(run.path, str(tmp_path / "in" / source), tmp_path / out, quiet=True)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.part")) and not (tmp_path / out).exists()


@pytest.mark.parametrize("strategy", ["spos", "ofa", "enas"])
def test_one_shot_strategies_search_volumes(balls, tmp_path, strategy):
    """Paths of shared weights learn from patches and are scored on whole volumes."""
    run = nd.search(
        SPACE, str(balls), out=tmp_path / "run", strategy=strategy, budget="epochs=6,trials=5",
        train_budget="epochs=1", objectives=["dice", "params<=1e4"], validate=False,
        recipe={"batch_size": 4}, task_options={"patches": 4}, quiet=True,
    )  # fmt: skip
    losses = [r.detail["train_loss"] for r in run.history.of("search/supernet")]
    assert losses[-1] < losses[0], "nothing was learnt"
    assert run.result["best"]["metrics"]["params"] <= 1e4
    assert sum(r.fidelity.get("supernet", False) for r in run.history.of("search")) == 5


def test_a_one_shot_search_that_was_stopped_ends_alike(balls, tmp_path):
    """Shared tensors, statistics and momenta go on to the same bits."""
    runs = []
    for place in ("whole", "stopped"):

        def begin(place=place):
            return nd.search(
                SPACE, str(balls), out=tmp_path / place, strategy="ofa",
                budget="epochs=2,trials=4", train_budget="epochs=1", validate=False,
                recipe={"batch_size": 4}, task_options={"patches": 4}, quiet=True,
            )  # fmt: skip

        if place == "stopped":
            with stopped_after(2):
                begin()
            runs.append(nd.resume(tmp_path / place, quiet=True))
        else:
            runs.append(begin())
    each = [[(r.architecture, r.metrics) for r in run.history.of("search")] for run in runs]
    assert len(each[0]) == 4 and each[0] == each[1]


@pytest.mark.parametrize("space", ["darts:cells=2,channels=4", "unet"])
def test_a_space_that_does_not_fit_is_refused(balls, tmp_path, space):
    task = str(balls) if space != "unet" else "digits"
    with pytest.raises(UsageError, match="--space|2 dimensions"):
        nd.search(space, task, out=tmp_path / "run", strategy="random", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_training_that_was_stopped_ends_in_the_same_bits(balls, tmp_path):
    task = nd.load_task(str(balls), patches=1).with_recipe(batch_size=3)
    space = nd.load_space(SPACE)
    weights = []
    for place in ("whole", "stopped"):
        (tmp_path / place).mkdir()
        context = make_context(tmp_path / place, space, task)

        def go_on(context=context):
            fresh(context, "train")
            network = space.build(space.sample(1)[0], task.input_shape, task.outputs)
            options = {"stage": "s", "epochs": 2, "architecture": None, "order": "o"}
            return train(network, context, **options)[0].state_dict()

        if place == "stopped":
            with stopped_after(2):
                go_on()
        weights.append(go_on())
    assert all(torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))


def test_the_bundle_runs_in_a_process_of_its_own(run, balls, tmp_path):
    """A network that MONAI does not have, in MONAI's own process: masks as ours."""
    scans = tmp_path / "scans"
    scans.mkdir()
    shutil.copy(balls / "imagesTr" / "ball_10.nii.gz", scans)
    predict(run.path, str(scans), tmp_path / "masks", quiet=True)
    bundle, difference = export(run.path, "monai-bundle", tmp_path / "bundle")
    assert difference < 1e-4
    run_bundle(bundle, scans, tmp_path / "theirs")
    ours = np.asarray(nibabel.load(tmp_path / "masks" / "ball_10.nii.gz").dataobj)
    theirs = np.asarray(nibabel.load(tmp_path / "theirs" / "ball_10_seg.nii.gz").dataobj)
    assert ours.shape == theirs.shape and np.mean(ours == theirs) > 0.98


@pytest.mark.slow
def test_the_network_is_exported(run, tmp_path):
    path, difference = export(run.path, "torch", tmp_path / "model.pt2")
    assert path.stat().st_size > 0 and difference <= TOLERANCE


@needs_shared
def test_hippocampus_from_the_command_line(tmp_path, monkeypatch, capsys):
    """Ten real cases, one short training: it runs, and says what it found."""
    source = SHARED / "data" / "Task04_Hippocampus"
    data = tmp_path / "Task04_Hippocampus"
    names = sorted(p.name for p in (source / "imagesTr").iterdir())[:10]
    for kind in ("imagesTr", "labelsTr"):
        (data / kind).mkdir(parents=True)
        for name in names:
            shutil.copy(source / kind / name, data / kind / name)
    shutil.copy(source / "dataset.json", data)
    out = tmp_path / "run"
    asked = ["search", "--domain", "medical", "--data", str(data), "--out", str(out), "--quiet"]
    asked += ["--budget", "trials=1,epochs=1", "--train-budget", "epochs=1", "--no-validate"]
    asked += ["--space", SPACE, "--strategy", "random", "--option", "skip_bad=yes"]
    asked += ["--option", "patches=1"]
    monkeypatch.setattr(sys, "argv", ["nas-domains", *asked])
    with pytest.raises(SystemExit) as stop:
        main()
    assert not stop.value.code
    assert "dice" in capsys.readouterr().out
    notes = nd.Run.open(out).config["notes"]
    # The index names 110 cases that were not copied: each is listed, and none is used.
    assert sum(note.startswith("Left out: ") for note in notes) == 110
    assert Path(out / "report.html").is_file()


@pytest.mark.parametrize(
    ("values", "kind"),
    [([0, 1], "uint8"), ([0, 255], "uint8"), ([0, 300], "int16"), ([0, 40_000], "int32")],
)
def test_masks_hold_the_values_of_their_labels(values, kind):
    assert mask_type(values) == kind
    assert max(values) <= np.iinfo(kind).max


def test_a_bundle_writes_the_values_of_its_labels(tmp_path):
    folder = write_folder(tmp_path / "data")
    for path in (folder / "labelsTr").iterdir():
        stored = nibabel.load(path)
        mask = np.where(np.asarray(stored.dataobj) > 0, 300, 0).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(mask, stored.affine), path)
    index = json.loads((folder / "dataset.json").read_text())
    index["labels"] = {"0": "background", "300": "ball"}
    (folder / "dataset.json").write_text(json.dumps(index))
    run = nd.search(
        SPACE,
        str(folder),
        out=tmp_path / "run",
        strategy="random",
        budget="trials=1,epochs=1",
        train_budget="epochs=1",
        validate=False,
        task_options={"patches": 1},
        quiet=True,
    )
    path, _ = export(run.path, "monai-bundle", tmp_path / "bundle")
    assert '"$np.int16"' in (path / "configs" / "inference.json").read_text()
