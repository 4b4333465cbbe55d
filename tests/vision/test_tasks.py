"""The vision tasks: what they make of good data."""

import json

import numpy as np
import pytest
import torch

import nas_domains.vision  # noqa: F401
from nas_domains.core.errors import UsageError
from nas_domains.core.task import find_loader, load_task
from nas_domains.data.augment import Chain
from nas_domains.vision.tasks import csv, digits, folder, npz
from tests.conftest import SHARED, needs_shared
from tests.data.make import npz_arrays, write_folder, write_image, write_npz
from tests.make import one_sentence


def lengths(task):
    return len(task.train), len(task.val), len(task.test)


def test_digits():
    task = load_task("digits")
    assert task.input_shape == (1, 8, 8) and task.outputs == 10 and task.domain == "vision"
    assert lengths(task) == (1168, 270, 359) and task.recipe.batch_size == 64
    assert task.augment == Chain(("shift",)) and task.classes == tuple("0123456789")
    from sklearn.datasets import load_digits

    assert task.test.labels.tolist() == load_digits().target[-359:].tolist()
    x, _ = task.train.batch(range(1168))
    assert abs(float(x.mean())) < 1e-5 and abs(float(x.std()) - 1) < 1e-3
    shares = np.bincount(task.val.labels) / len(task.val)
    assert np.abs(shares - np.bincount(task.train.labels) / len(task.train)).max() < 0.01
    assert json.loads(json.dumps(task.preprocess)) == task.preprocess
    assert task.preprocess["loader"] == "digits"


def test_seeds_split_options():
    base, again = load_task("digits"), load_task("digits", seed="0")
    other = load_task("digits", seed=1)
    assert base.fingerprint() == again.fingerprint() != other.fingerprint()
    assert np.array_equal(base.test.images, other.test.images)
    task = load_task("digits", split="val=0.1,test=0.3", augment="none")
    assert lengths(task) == (1078, 180, 539) and task.augment is None
    assert load_task("digits", split="random").fingerprint() != base.fingerprint()


def test_npz_as_given(tmp_path):
    task = load_task(write_npz(tmp_path / "mine.npz"))
    assert task.name == "mine" and lengths(task) == (40, 10, 10)
    assert task.input_shape == (1, 12, 10) and task.recipe.batch_size == 32
    assert task.augment == Chain(("shift", "flip"))
    x, y = task.test[3]
    stored = npz_arrays()
    mean = stored["train_images"].mean() / 255
    std = stored["train_images"].std() / 255
    torch.testing.assert_close(
        x[0], torch.tensor((stored["test_images"][3] / 255 - mean) / std, dtype=torch.float32)
    )
    assert y == 1


@pytest.mark.parametrize("lacking", [("val",), ("test",), ("val", "test")])
def test_npz_cuts_what_is_lacking_from_training_only(tmp_path, lacking):
    gone = {f"{part}_{kind}": None for part in lacking for kind in ("images", "labels")}
    task = load_task(write_npz(tmp_path / "a.npz", **gone))
    assert sum(lengths(task)) == 60 - 10 * len(lacking)
    assert len(task.test) == (8 if "test" in lacking else 10)
    seen = [x.numpy().tobytes() for part in (task.train, task.val, task.test) for x, _ in part]
    assert len(set(seen)) == len(seen)


def test_npz_labels_with_gaps_are_renumbered_and_whole_floats_taken(tmp_path):
    arrays = npz_arrays()
    changed = {
        f"{part}_labels": arrays[f"{part}_labels"].astype(float)[:, 0] * 4 + 3
        for part in ("train", "val", "test")
    }
    task = load_task(write_npz(tmp_path / "a.npz", **changed))
    assert task.classes == ("3", "7") and task.outputs == 2
    assert task.test.labels.tolist() == [0, 1] * 5


def test_npz_groups_are_kept_together(tmp_path):
    gone = {"val_images": None, "val_labels": None, "test_images": None, "test_labels": None}
    groups = np.repeat([f"p{i}" for i in range(20)], 2)
    task = load_task(write_npz(tmp_path / "a.npz", train_groups=groups, **gone))
    parts = [set(part.groups) for part in (task.train, task.val, task.test)]
    assert not parts[0] & parts[1] and not parts[0] & parts[2] and not parts[1] & parts[2]


def test_folder_without_splits(tmp_path):
    root = write_folder(tmp_path / "pets", ("9", "10"), n=20)
    (tmp_path / "pets" / "9" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "pets" / "9" / "notes.txt").write_text("x")
    task = load_task(root)
    assert task.classes == ("9", "10") and lengths(task) == (26, 6, 8)
    assert [path[-7:] for path in task.test.paths] == [f"{i:03d}.png" for i in range(16, 20)] * 2
    assert task.input_shape == (1, 12, 10) and task.name == "pets"
    for note in task.notes:
        one_sentence(note)


def test_folder_with_splits_and_odd_sizes(tmp_path):
    for part, n in (("Train", 8), ("valid", 4), ("testing", 4)):
        write_folder(tmp_path / "d" / part, ("a", "b"), n)
    write_image(tmp_path / "d" / "Train" / "a" / "deep" / "wide.jpg", (20, 60), mode="RGB")
    write_image(tmp_path / "d" / "masks" / "x.png")
    task = load_task(str(tmp_path / "d"), size="16x12")
    assert lengths(task) == (17, 8, 8) and task.input_shape == (3, 16, 12)
    assert any("masks" in note for note in task.notes)


def test_an_unlabelled_test_folder_is_passed_over(tmp_path):
    write_folder(tmp_path / "d" / "train")
    write_image(tmp_path / "d" / "test" / "1.png")
    task = load_task(str(tmp_path / "d"))
    assert sum(lengths(task)) == 20 and any("test" in note for note in task.notes)


def test_large_files_are_reduced_and_grey_stored_as_rgb_is_grey(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (300, 450), dtype=np.uint8)
    from PIL import Image

    for c in "ab":
        for i in range(5):
            path = tmp_path / "d" / c / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.roll(grey, i, 0)).convert("RGB").save(path)
    task = load_task(str(tmp_path / "d"))
    assert task.input_shape == (1, 149, 224)


def table(tmp_path, lines):
    for i in range(24):
        write_image(tmp_path / "img" / f"{i:02d}.png", seed=i)
    path = tmp_path / "list.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return str(path)


def test_csv_with_groups(tmp_path):
    lines = ["Label;Path;group;age"]
    lines += [f"{'ab'[i // 12]};img/{i:02d}.png;p{i // 2:02d};50" for i in range(24)]
    task = load_task(table(tmp_path, lines))
    assert lengths(task) == (16, 4, 4) and task.classes == ("a", "b")
    parts = [set(part.groups) for part in (task.train, task.val, task.test)]
    assert sum(map(len, parts)) == 12 == len(set.union(*parts))
    assert set(task.test.labels) == {0, 1}


def test_csv_with_splits(tmp_path):
    lines = ["path,label,split"]
    lines += [
        f"img/{i:02d}.png,{i % 2},{'test' if i > 19 else 'val' if i > 15 else 'train'}"
        for i in range(24)
    ]
    task = load_task(table(tmp_path, lines))
    assert lengths(task) == (16, 4, 4) and task.classes == ("0", "1")


def test_loaders_are_found_by_source(tmp_path):
    assert find_loader("digits") is digits
    assert find_loader(write_npz(tmp_path / "A.NPZ")) is npz
    assert find_loader(str(tmp_path)) is folder
    assert find_loader("list.csv") is csv
    for loader in (digits, npz, folder, csv):
        assert loader.accepts("\0") is False and loader.accepts("") is False


def test_options(tmp_path):
    root = write_folder(tmp_path / "d")
    for source, options, said in [
        ("digits", {"size": 8}, "no option 'size' without a checkpoint"),
        (root, {"colour": 1}, "known are augment, checkpoint, seed, size, split"),
        ("digits", {"augment": "rotate"}, "'rotate'"),
        ("digits", {"split": "half"}, "'half'"),
        ("digits", {"seed": -1}, "seed=-1"),
        ("digits", {"seed": "1.5"}, "seed='1.5'"),
        (root, {"size": "big"}, "size='big'"),
        (root, {"size": 0}, "size=0"),
        (root, {"size": "1x2x3"}, "size='1x2x3'"),
    ]:
        with pytest.raises(UsageError) as caught:
            load_task(source, **options)
        one_sentence(str(caught.value), said)


@pytest.mark.parametrize("name", ["digitz", "mnist"])
def test_an_unknown_name_is_one_sentence(name):
    with pytest.raises(UsageError) as caught:
        load_task(name)
    assert name in str(caught.value) and str(caught.value).endswith(".")


@needs_shared
def test_breastmnist():
    task = load_task(str(SHARED / "data" / "medmnist" / "breastmnist.npz"))
    assert lengths(task) == (546, 78, 156) and task.input_shape == (1, 28, 28)
    assert task.outputs == 2 and task.recipe.batch_size == 32
    assert np.bincount(task.test.labels).tolist() == [42, 114]


@needs_shared
def test_cifar():
    task = load_task(str(SHARED / "data" / "cifar10" / "cifar10_5k.npz"))
    assert lengths(task) == (4000, 1000, 1250) and task.input_shape == (3, 32, 32)
    assert task.outputs == 10 and task.recipe.batch_size == 64
