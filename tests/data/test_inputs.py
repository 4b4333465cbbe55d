"""Unlabelled inputs: every kind of source, brought to the form of training."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

import nas_domains.vision  # noqa: F401
from nas_domains.core.errors import UsageError
from nas_domains.core.task import find_loader, load_task
from tests.conftest import SHARED, needs_shared
from tests.make import one_sentence

from .make import npz_arrays, write_folder, write_image, write_npz


def prepared(task):
    """The description as it comes back from a run's JSON."""
    return json.loads(json.dumps(task.preprocess))


@pytest.fixture
def trained(tmp_path):
    task = load_task(write_npz(tmp_path / "train.npz"))
    return prepared(task), task


def read(source, preprocess):
    return find_loader("x.npz", "vision").inputs(str(source), preprocess)


def test_an_npz_gives_the_test_images_as_the_task_does(tmp_path, trained):
    preprocess, task = trained
    names, images = read(tmp_path / "train.npz", preprocess)
    assert names[:2] == ["test_images[0]", "test_images[1]"] and len(images) == 10
    assert torch.equal(images.batch(range(10))[0], task.test.batch(range(10))[0])
    assert images[0][1] == 0


def test_files_give_the_same_bits_as_the_array(tmp_path, trained):
    preprocess, task = trained
    folder = tmp_path / "scans"
    pixels = npz_arrays()["test_images"]
    for i, image in enumerate(pixels):
        (folder / "deep").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "deep" / f"{i}.png")
    (folder / ".hidden.png").write_bytes(b"")
    names, images = read(folder, preprocess)
    assert names == [f"deep/{i}.png" for i in range(10)]
    assert torch.equal(images.batch(range(10))[0], task.test.batch(range(10))[0])
    names, single = read(folder / "deep" / "3.png", preprocess)
    assert names == ["3.png"] and torch.equal(single[0][0], task.test[3][0])
    table = tmp_path / "list.csv"
    table.write_text("path,remark\nscans/deep/7.png,x\nscans/deep/2.png,y\n")
    names, listed = read(table, preprocess)
    assert names == ["scans/deep/7.png", "scans/deep/2.png"]
    assert torch.equal(listed[0][0], task.test[7][0])


def test_colour_and_size_are_brought_to_those_of_training(tmp_path, trained):
    preprocess, _ = trained
    path = write_image(tmp_path / "big.png", (48, 40), mode="RGB")
    _, from_file = read(path, preprocess)
    np.savez(tmp_path / "big.npz", scans=np.asarray(Image.open(path))[None], note=np.arange(3))
    names, from_array = read(tmp_path / "big.npz", preprocess)
    assert names == ["scans[0]"] and from_file[0][0].shape == (1, 12, 10)
    # Grey values are rounded in the file's way and not in the array's: a level or two of 255.
    assert (from_file[0][0] - from_array[0][0]).abs().max() < 3 / 255 / preprocess["std"][0]


def test_grey_inputs_of_a_colour_network(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    arrays = {"val_images": None, "val_labels": None, "test_images": None, "test_labels": None}
    task = load_task(write_npz(tmp_path / "a.npz", train_images=images, **arrays))
    assert task.input_shape == (3, 8, 8)
    _, grey = read(write_image(tmp_path / "g.png", (8, 8)), prepared(task))
    x = grey[0][0] * torch.tensor(task.preprocess["std"])[:, None, None]
    x += torch.tensor(task.preprocess["mean"])[:, None, None]
    torch.testing.assert_close(x[0], x[2])


def test_values_as_stored_are_given_as_stored(tmp_path):
    arrays = npz_arrays()
    for part in ("train", "val", "test"):
        arrays[f"{part}_images"] = arrays[f"{part}_images"].astype(np.float64)
    task = load_task(write_npz(tmp_path / "a.npz", **arrays))
    assert task.preprocess["values"] == "raw"
    Image.fromarray(npz_arrays()["test_images"][0]).save(tmp_path / "a.png")
    torch.testing.assert_close(read(tmp_path / "a.png", prepared(task))[1][0][0], task.test[0][0])


def test_a_folder_network_reads_a_folder(tmp_path):
    task = load_task(write_folder(tmp_path / "data"))
    names, images = find_loader(str(tmp_path / "data")).inputs(
        str(tmp_path / "data" / "cat"), prepared(task)
    )
    assert len(names) == 10 and images[0][0].shape == task.input_shape


def bad_inputs(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "note.txt").write_text("x")
    (tmp_path / "a.csv").write_text("path\nnone.png\n")
    (tmp_path / "b.csv").write_text("file\nnone.png\n")
    (tmp_path / "zero.png").write_bytes(b"")
    np.savez(tmp_path / "flat.npz", a=np.arange(4))
    np.savez(tmp_path / "none.npz")
    np.savez(tmp_path / "two.npz", images=np.zeros((2, 12, 10, 2), np.uint8))
    np.savez(tmp_path / "raw.npz", images=np.full((2, 12, 10), 200.0))
    np.savez(tmp_path / "nan.npz", images=np.full((2, 12, 10), np.nan))
    return {
        "missing": "No such file",
        "empty": "no images",
        "note.txt": "ending",
        "a.csv": "line 2.*none.png",
        "b.csv": "no column 'path'",
        "zero.png": "zero.png' is empty",
        "flat.npz": "no array of images",
        "none.npz": "no array of images",
        "two.npz": "2 channels.*trained on 1",
        "raw.npz": "from 200.0 to 200.0",
        "nan.npz": "NaN",
    }


def test_bad_inputs_are_one_sentence_naming_the_file(tmp_path, trained):
    for name, said in bad_inputs(tmp_path).items():
        with pytest.raises(UsageError, match=said) as caught:
            read(tmp_path / name, trained[0])
        one_sentence(str(caught.value), name)


def test_files_cannot_feed_four_channels(tmp_path, trained):
    path = write_image(tmp_path / "a.png")
    with pytest.raises(UsageError, match="4 channels"):
        read(path, {**trained[0], "channels": 4})


@needs_shared
def test_real_ultrasound(tmp_path):
    task = load_task(str(SHARED / "data" / "medmnist" / "breastmnist.npz"))
    _, images = read(SHARED / "data" / "medmnist" / "breastmnist.npz", prepared(task))
    assert torch.equal(images.batch(range(156))[0], task.test.batch(range(156))[0])
