"""Segmentation tasks: splits, defaults, repeatable patches, and MedMNIST's files."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.core.task import load_task
from nas_domains.data.decathlon import Case
from nas_domains.data.rule import SplitRule
from nas_domains.evaluation.fidelity import reduced
from nas_domains.evaluation.halves import search_halves
from nas_domains.evaluation.score import evaluate
from nas_domains.evaluation.stream import Stream
from nas_domains.evaluation.train import augmented
from nas_domains.medical.cases import divide
from nas_domains.medical.fingerprint import (
    BATCH_VOXELS,
    PATCH_VOXELS,
    SCORING,
    batch_of,
    patch_of,
    patches_of,
)
from nas_domains.medical.spaces import unet
from tests.conftest import SHARED, needs_shared
from tests.data.make import write_npz
from tests.make import make_context
from tests.medical.make import write_folder


@pytest.fixture(scope="module")
def task(balls):
    return load_task(str(balls))


def test_the_domain_is_read_off_the_data(task):
    assert task.domain == "medical" and task.space == "unet"
    assert list(task.metrics) == ["dice"] and list(task.final_metrics) == ["hd95_mm"]
    assert task.classes == ("background", "class1", "class2")
    assert task.input_shape == (1, 24, 24, 24) and task.passes == 1
    said = " ".join(task.notes)
    assert "MRI" in said and "class1" in said and "16x16x16" in said


def test_the_test_is_the_end_in_sorted_order(task):
    assert task.test.names == ["ball_10", "ball_11"]
    names = [name for split in (task.train, task.val, task.test) for name in split.names]
    assert len(set(names)) == len(names) == 12


def test_whole_volumes_are_normalised_and_keep_their_size(task):
    for split, index in ((task.train, 0), (task.test, 1)):
        x, y = split[index]
        assert x.dtype == torch.float32 and y.dtype == torch.int64
        assert x.shape[1:] == y.shape and abs(float(x.mean())) < 1e-4
        assert abs(float(x.std()) - 1) < 1e-2 and set(y.unique().tolist()) == {0, 1, 2}
    with pytest.raises(IndexError):
        task.train[len(task.train)]


def test_patches_depend_on_the_generator_alone(task):
    def draw(seed):
        return task.train.draw([0, 3, 0], torch.Generator().manual_seed(seed))

    x, y = draw(1)
    assert x.shape == (3, 1, 16, 16, 16) and y.shape == (3, 16, 16, 16)
    assert not torch.equal(x[0], x[2]), "one case drawn twice gives two patches"
    draw(2)
    again = draw(1)
    assert torch.equal(x, again[0]) and torch.equal(y, again[1])
    assert not torch.equal(x, draw(2)[0])
    assert torch.equal(task.train.batch([1])[0], task.train.batch([1])[0])


def test_a_task_can_be_sent_to_a_worker(task):
    again = pickle.loads(pickle.dumps(task))
    pairs = [t.train.draw([1], torch.Generator().manual_seed(0)) for t in (task, again)]
    assert torch.equal(pairs[0][0], pairs[1][0])


def test_every_class_is_drawn(task):
    generator = torch.Generator().manual_seed(0)
    y = task.train.draw([0] * 12, generator)[1]
    assert all(bool((y == number).flatten(1).any(1).any()) for number in range(3))


def test_small_volumes_are_filled_up(balls):
    task = load_task(str(balls), patch="32x24x32", augment="none")
    x, y = task.train.draw([0], torch.Generator().manual_seed(0))
    assert x.shape[2:] == (32, 24, 32) and x.isfinite().all()
    assert task.train.batch([0])[0].shape == x.shape


def test_modalities_orientation_and_spacing(tmp_path):
    # Axes in the order z, x, y, the first one backwards, with voxels of 1, 2, 1 mm.
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = -1.0, 2.0, 1.0, 1.0
    folder = write_folder(tmp_path, 8, modalities=("T1", "T2"), affine=affine)
    task = load_task(str(folder))
    x, y = task.train[0]
    assert x.shape[0] == 2 and x.shape[1:] == y.shape
    assert task.preprocess["spacing"] == [2.0, 1.0, 1.0]
    # The second modality is the first one turned dark.
    assert float((x[0] * x[1]).mean()) < -0.5
    finer = load_task(str(folder), spacing="1x1x1")
    assert finer.train[0][0].shape[1] > 1.7 * x.shape[1]


def test_tomography_shares_its_scale(tmp_path):
    task = load_task(str(write_folder(tmp_path, 8, modalities=("CT",))))
    (entry,) = task.preprocess["intensity"]
    low, high = entry["clip"]
    assert low < entry["mean"] < high and entry["std"] > 0
    bright = task.train[0][0].max()
    assert float(bright) == pytest.approx((high - entry["mean"]) / entry["std"], rel=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(3, 600), min_size=3, max_size=3))
def test_patches_suit_any_volume(sides):
    patch = patch_of(sides)
    voxels = int(np.prod(patch))
    assert all(p % 8 == 0 and p <= max(8, side) for p, side in zip(patch, sides, strict=True))
    assert voxels <= PATCH_VOXELS and 2 <= batch_of(patch) <= 16
    assert batch_of(patch) * voxels <= max(BATCH_VOXELS, 2 * voxels)


CASES = [Case(f"c{i:02}", "image", "label") for i in range(20)]


def test_folds_cover_all_but_the_test():
    folds = [
        divide("x", CASES, (), rule=SplitRule(), fold=(k, 4), labelled=1, seed=0)
        for k in range(1, 5)
    ]
    for fold in folds:
        assert not set(fold.train) & set(fold.val) and fold.test == tuple(CASES[16:])
        assert set(fold.train) | set(fold.val) == set(CASES[:16])
    for a, b in itertools.combinations(folds, 2):
        assert not set(a.val) & set(b.val)


def test_few_labels_leave_validation_and_test_alone():
    whole, few = (
        divide("x", CASES, (), rule=SplitRule(), fold=None, labelled=share, seed=0)
        for share in (1, 0.25)
    )
    assert len(few.train) == round(len(whole.train) / 4) and set(few.train) < set(whole.train)
    assert (few.val, few.test) == (whole.val, whole.test)
    assert any("labelled=0.25" in note for note in few.notes)


PATIENTS = [Case(f"p{i % 7}_{i:02}", "image", "label", patient=f"p{i % 7}") for i in range(30)]


@pytest.mark.parametrize("fold", [None, (1, 4), (4, 4)])
@pytest.mark.parametrize("labelled", [1.0, 0.5])
@pytest.mark.parametrize("given", [0, 3])
def test_no_patient_is_on_both_sides(fold, labelled, given):
    last = [Case(f"q{i}", "image", "label", patient="q") for i in range(given)]
    options = {"rule": SplitRule(), "fold": fold, "labelled": labelled, "seed": 0}
    divided = divide("x", PATIENTS, last, **options)
    owners = [{case.patient for case in split} for split in divided.splits.values()]
    assert all(owners) and not any(a & b for a, b in itertools.combinations(owners, 2))
    assert any(f"{7 + (given > 0)} patients" in note for note in divided.notes)
    kept = {case for split in divided.splits.values() for case in split}
    for owner in owners[0]:
        assert kept >= {case for case in PATIENTS if case.patient == owner}


def test_patients_are_found_in_names(balls, tmp_path):
    task = load_task(str(balls), patient=r"ball_\d(\d)")
    assert [case.patient for case in task.test.cases] == [name[-1] for name in task.test.names]
    by_split = [set(split.groups) for split in (task.train, task.val, task.test)]
    assert not by_split[0] & by_split[1] and not (by_split[0] | by_split[1]) & by_split[2]
    first, second = search_halves(make_context(tmp_path, unet(), task))
    owners = [{task.train.groups[i] for i in half} for half in (first, second)]
    assert all(owners) and not owners[0] & owners[1]
    assert load_task(str(balls)).train.groups is None


def test_an_epoch_takes_several_patches_of_a_case(task, balls):
    assert task.train.repeats == patches_of(8, (16, 16, 16), 2, 24**3) > 1
    stream = Stream(load_task(str(balls), patches=3).train, 4, seed=0)
    assert stream.steps_per_epoch == 3 * len(task.train) // 4
    seen = [i for step in range(stream.steps_per_epoch) for i in stream.at(step)]
    assert sorted(seen) == sorted(3 * list(range(len(task.train))))
    assert "3 of each case" in load_task(str(balls), patches=3).notes[-1]


@given(st.integers(1, 500), st.integers(1, 200), st.integers(1, 10**7))
def test_scoring_is_a_small_share_of_an_epoch(cases, scored, voxels):
    patches = patches_of(cases, (32, 48, 32), scored, voxels)
    trained, shown = patches * cases * 32 * 48 * 32, scored * voxels
    assert 1 <= patches <= 16 and (patches == 16 or trained >= SCORING * shown)


def test_trials_on_less_data_at_a_lower_resolution(task, tmp_path):
    context = make_context(tmp_path, unet(channels="4-6", depths="2"), task)
    cheap = reduced(context, Fidelity(1, data=0.5, resolution=0.5))
    assert cheap.task.input_shape == (1, 12, 12, 12)
    assert cheap.task.train.repeats == task.train.repeats
    stream = Stream(cheap.task.train, 2, seed=0)
    x, y = augmented(cheap, stream, 0, "order")
    assert x.shape == (2, 1, 8, 8, 8) and y.shape == (2, 8, 8, 8)
    again, _ = augmented(cheap, stream, 0, "order")
    assert torch.equal(x, again)
    sides = [side // 2 for side in task.val[0][0].shape[1:]]
    assert list(cheap.task.val[0][0].shape[1:]) == pytest.approx(sides, abs=1)
    network = context.space.build(context.space.sample(1)[0], cheap.task.input_shape, 3)
    assert 0 <= evaluate(network, cheap.task.val, cheap)["dice"] <= 1


def test_a_labelled_test_is_used_as_given():
    given = divide("x", CASES[:15], CASES[15:], rule=SplitRule(), fold=None, labelled=1, seed=0)
    assert given.test == tuple(CASES[15:])


def test_medmnist_images_and_volumes(tmp_path):
    source = write_npz(tmp_path / "a.npz")
    assert load_task(source).domain == "vision", "vision reads it where no domain is named"
    images = load_task(source, domain="medical")
    assert images.domain == "medical" and list(images.metrics) == ["accuracy", "auc"]
    rng = np.random.default_rng(0)
    parts = {"train": 12, "val": 6, "test": 6}
    arrays = {
        f"{p}_images": rng.integers(0, 255, (n, 18, 18, 18), np.uint8) for p, n in parts.items()
    }
    arrays |= {f"{p}_labels": np.arange(n)[:, None] % 2 for p, n in parts.items()}
    np.savez(tmp_path / "v.npz", **arrays)
    volumes = load_task(str(tmp_path / "v.npz"), domain="medical")
    assert volumes.input_shape == (1, 18, 18, 18) and "dims=3" in volumes.space
    x, y = volumes.train.batch([0, 1])
    assert x.shape == (2, 1, 18, 18, 18) and y.tolist() == [0, 1]
    assert x[0, 0, 3, 4, 5] == pytest.approx(
        (arrays["train_images"][0, 3, 4, 5] / 255 - volumes.train.mean[0]) / volumes.train.std[0],
        rel=1e-4,
    )
    with pytest.raises(UsageError, match="leave augment out"):
        load_task(str(tmp_path / "v.npz"), domain="medical", augment="flip")


@needs_shared
def test_hippocampus_has_the_facts_of_its_folder():
    folder = SHARED / "data" / "Task04_Hippocampus"
    task = load_task(str(folder))
    assert [len(s) for s in (task.train, task.val, task.test)] == [78, 18, 24]
    assert task.test.names[-1] == max(path.name[:-7] for path in (folder / "imagesTr").iterdir())
    assert task.classes == ("background", "Anterior", "Posterior")
    # Some volumes have outliers of many deviations, which clipping takes away.
    assert max(float(task.test[i][0].abs().max()) for i in range(24)) < 12
