"""Every bad input ends in one sentence that names the file, the line or the value."""

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import nas_domains.vision  # noqa: F401
from nas_domains.core.errors import UsageError
from nas_domains.core.task import load_task
from tests.data.make import npz_arrays, write_folder, write_image, write_npz
from tests.make import one_sentence


def refused(source, name, said, **options):
    with pytest.raises(UsageError) as caught:
        load_task(str(source), **options)
    text = str(caught.value)
    one_sentence(text)
    assert name in text and said in text, text


def broken(value):
    """Float pixels of which one is the given value."""
    pixels = npz_arrays()["train_images"] / 255
    pixels[7, 3, 2] = value
    return pixels


def relabelled(values):
    """The labels of all splits."""
    arrays = npz_arrays()
    return {
        f"{part}_labels": values(arrays[f"{part}_labels"]) for part in ("train", "val", "test")
    }


ARRAYS = {
    "no train": ({"train_images": None}, "expected are train_images"),
    "no labels": ({"val_labels": None}, "no val_labels"),
    "object images": ({"train_images": np.array([[1, 2], [3]], object)}, "train_images holds Py"),
    "object labels": ({"test_labels": np.array(["a"] * 10, object)}, "test_labels holds Python"),
    "string images": ({"train_images": np.full((40, 12, 10), "x")}, "train_images is of type <U1"),
    "complex": ({"train_images": np.zeros((40, 12, 10), complex)}, "complex128"),
    "rank 2": ({"train_images": np.zeros((40, 120), np.uint8)}, "(40, 120)"),
    "rank 0": ({"train_images": np.uint8(3)}, "shape ()"),
    "volumes": ({"train_images": np.zeros((40, 28, 28, 28), np.uint8)}, "--domain medical"),
    "colour volumes": ({"train_images": np.zeros((40, 8, 8, 8, 3), np.uint8)}, "--domain medical"),
    "channels first": ({"train_images": np.zeros((40, 3, 12, 10), np.uint8)}, "(40, 12, 10, 3)"),
    "no pixels": ({"train_images": np.zeros((40, 0, 10), np.uint8)}, "no pixels"),
    "no images": ({"train_images": np.zeros((0, 12, 10), np.uint8)}, "no pixels"),
    "other size": ({"test_images": np.zeros((10, 12, 11), np.uint8)}, "(12, 11, 1)"),
    "lengths": ({"train_labels": np.zeros(39, int)}, "40 train_images but 39 train_labels"),
    "nan": ({"train_images": broken(np.nan)}, "first in image 7"),
    "inf": ({"train_images": broken(np.inf)}, "first in image 7"),
    "negative": (relabelled(lambda y: y.astype(int) - 1), "holds -1 at index 0"),
    "fractions": (relabelled(lambda y: y / 2), "holds 0.5 at index 1"),
    "nan label": (relabelled(lambda y: np.where(y == 1, np.nan, y)), "holds nan at index 1"),
    "string labels": (relabelled(lambda y: y.astype(str)), "labels must be integers"),
    "several labels": (relabelled(lambda y: np.repeat(y, 14, 1)), "14 labels a sample"),
    "empty labels": ({"test_labels": np.zeros((0, 1), int)}, "(0, 1)"),
    "rank 3 labels": (relabelled(lambda y: y[None]), "[N] or [N, 1]"),
    "unseen": ({"test_labels": np.arange(10)}, "label '2' in its test split"),
    "one class": (relabelled(np.zeros_like), "one class only ('0')"),
    "each its own": ({"train_labels": np.arange(40)}, "40 training samples for 40 classes"),
    "groups": ({"train_groups": np.arange(40)}, "no val_groups"),
    "group twice": (
        {f"{part}_groups": np.arange(n) for part, n in (("train", 40), ("val", 10), ("test", 10))},
        "group '0' in both its train and its val",
    ),
    "group length": ({"train_groups": np.arange(4)}, "40 train_images but 4 train_groups"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_arrays(tmp_path, case):
    changes, said = ARRAYS[case]
    refused(write_npz(tmp_path / "x.npz", **changes), "x.npz", said)


def damaged(path, case):
    whole = Path(write_npz(path)).read_bytes()
    if case == "zip of text":
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("readme.txt", "hello")
        return
    content = {
        "empty": b"",
        "cut": whole[: len(whole) // 2],
        "cut end": whole[:-30],
        "text": b"images go here",
        "pickle": b"\x80\x04K\x01.",
        "npy": b"\x93NUMPY" + bytes(50),
        "flipped": whole[:400] + bytes(b ^ 255 for b in whole[400:600]) + whole[600:],
        "header": whole.replace(b"NUMPY", b"NUMPI", 1),
    }[case]
    path.write_bytes(content)


@pytest.mark.parametrize(
    "case",
    ["empty", "cut", "cut end", "text", "pickle", "npy", "flipped", "header", "zip of text"],
)
def test_damaged_npz(tmp_path, case):
    damaged(tmp_path / "x.npz", case)
    refused(tmp_path / "x.npz", "x.npz", "")


@given(st.data())
def test_any_damage_is_found_or_harmless(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("d") / "x.npz"
    content = bytearray(Path(write_npz(path)).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        load_task(str(path))
    except UsageError as error:
        one_sentence(str(error))


@pytest.mark.parametrize("name", ["none.npz", "none.csv", "some/folder"])
def test_missing(tmp_path, name):
    refused(tmp_path / name, name, "No such file")


@pytest.mark.parametrize("name", ["x.npz", "x.csv", "x/a/001.png", "x/b"])
def test_no_permission(tmp_path, monkeypatch, name):
    write_npz(tmp_path / "x.npz")
    write_folder(tmp_path / "x", ("a", "b"))
    (tmp_path / "x.csv").write_text("path,label\n")
    target = tmp_path / name
    if os.geteuid() != 0:
        target.chmod(0)
        refused(tmp_path / name.split("/")[0], target.name, "No permission")
        target.chmod(0o755)
        return
    # The superuser may read anything: the system's answer is put in its place.
    import builtins

    def denied(real):
        def call(path, *args, **kwargs):
            if str(path).startswith(str(target)):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path, *args, **kwargs)

        return call

    monkeypatch.setattr(builtins, "open", denied(builtins.open))
    monkeypatch.setattr("zipfile.io.open", denied(zipfile.io.open))
    monkeypatch.setattr(os, "scandir", denied(os.scandir))
    refused(tmp_path / name.split("/")[0], target.name, "No permission")


def folder_cases(root, case):
    if case == "empty":
        root.mkdir()
    elif case == "text only":
        (root / "a").mkdir(parents=True)
        (root / "a" / "x.txt").write_text("x")
    elif case == "no sub-folders":
        write_image(root / "1.png")
    elif case == "scans":
        (root / "imagesTr").mkdir(parents=True)
        (root / "imagesTr" / "1.nii.gz").write_bytes(b"x")
    elif case == "one class":
        write_folder(root, ("cat",))
    elif case == "few":
        write_folder(root, ("a", "b", "c"), 1)
    elif case == "no train":
        write_folder(root / "test")
    elif case == "two vals":
        for name in ("train", "val", "valid"):
            write_folder(root / name)
    elif case == "unseen class":
        write_folder(root / "train")
        write_folder(root / "test", ("cat", "cow"))
    else:
        write_folder(root)
        path = root / "dog" / "004.png"
        content = path.read_bytes()
        path.write_bytes({"zero bytes": b"", "cut": content[:-40], "no image": b"<html>"}[case])


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("empty", "holds no images, no files"),
        ("text only", "only 1 other file"),
        ("no sub-folders", "images but no sub-folders"),
        ("scans", "--domain medical"),
        ("one class", "one class only ('cat')"),
        ("few", "3 training samples for 3 classes"),
        ("no train", "no folder train"),
        ("two vals", "two folders for the val split"),
        ("unseen class", "label 'cow' in its test split"),
        ("zero bytes", "dog/004.png' is empty"),
        ("cut", "dog/004.png"),
        ("no image", "dog/004.png"),
    ],
)
def test_folders(tmp_path, case, said):
    folder_cases(tmp_path / "data", case)
    refused(tmp_path / "data", "data", said)


GOOD = "path,label\n" + "".join(f"{i}.png,{i % 2}\n" for i in range(10))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("path,label\n", "no lines"),
        ("path,label\n\n  \n", "no lines"),
        ("file,label\n0.png,1\n", "no column 'path'"),
        ("path,klass\n0.png,1\n", "no column 'label'"),
        ("path,label,path\n0.png,1,2\n", "'path' twice"),
        (GOOD + "none.png,1\n", "line 12: there is no file 'none.png'"),
        (GOOD + ".,1\n", "line 12: there is no file '.'"),
        (GOOD + "0.png,\n", "line 12: the label is missing"),
        (GOOD + ",1\n", "line 12: the path is missing"),
        (GOOD + "0.png,1,2\n", "line 12: there are 3 values for 2 columns"),
        (GOOD + "0.png\n", "line 12: there are 1 values for 2 columns"),
        (GOOD + "./3.png,1\n", "line 12: the image of line 5 is named again"),
        (GOOD + '"0.png,1\n', "line 12"),
        (GOOD.replace(",1\n", ",0\n"), "one class only"),
        ("path,label,split\n0.png,a,dunno\n", "line 2: the split 'dunno'"),
        ("path,label,split\n0.png,a,train\n1.png,b,\n", "line 3: the split is missing"),
        ("path,label,split\n0.png,a,test\n1.png,b,val\n", "no line whose split is train"),
        ("path,label,group\n0.png,a,p\n1.png,b,\n", "line 3: the group is missing"),
        (
            "path,label,group,split\n"
            + "".join(
                f"{i}.png,{i % 2},p{i // 2},{'train' if i < 7 else 'test'}\n" for i in range(10)
            ),
            "group 'p3' in both its train and its test",
        ),
        ("path,label,group\n" + "".join(f"{i}.png,{i % 2},p\n" for i in range(10)), "too few"),
        (b"path,label\n\xff\xfe.png,1\n", "not UTF-8"),
        (b"path,label\n\0.png,1\n", "line 2"),
    ],
)
def test_tables(tmp_path, content, said):
    for i in range(10):
        write_image(tmp_path / f"{i}.png", seed=i)
    path = tmp_path / "x.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(path, "x.csv", said)


@pytest.mark.parametrize("name", ["x.csv", "x.npz"])
def test_a_folder_called_as_a_file_is_a_folder(tmp_path, name):
    assert load_task(write_folder(tmp_path / name)).classes == ("cat", "dog")


def test_a_given_split_is_not_cut_again(tmp_path):
    source = write_npz(tmp_path / "x.npz")
    refused(source, "x.npz", "'test'", split="0.2")
    refused(source, "x.npz", "'val'", split="val=0.2")
