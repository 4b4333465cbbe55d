"""Every bad case ends in one sentence that names it, or is left out and listed."""

import gzip
import json

import nibabel
import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.core.task import load_task
from tests.make import one_sentence
from tests.medical.make import volume, write_case, write_folder, write_index

NAMES = [f"ball_{i:02}" for i in range(8)]
BAD = "ball_03"


def image(folder):
    return folder / "imagesTr" / f"{BAD}.nii.gz"


def label(folder):
    return folder / "labelsTr" / f"{BAD}.nii.gz"


def changed(path, change):
    array = np.asarray(nibabel.load(path).dataobj).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(change(array), np.eye(4)), path)


def turned(path):
    stored = nibabel.load(path)
    affine = stored.affine @ np.diag([-1, 1, 1, 1])
    nibabel.save(nibabel.Nifti1Image(np.asarray(stored.dataobj), affine), path)


def put(value):
    def change(array):
        array[2, 3, 4] = value
        return array

    return change


def flatten(path):
    """Takes the rows of the affine away, which nibabel itself refuses to write."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[280:328] = bytes(48)
    path.write_bytes(gzip.compress(bytes(content)))


CASES = {
    "empty file": (lambda f: image(f).write_bytes(b""), "empty file"),
    "noise": (lambda f: image(f).write_bytes(b"noise" * 99), "no readable NIfTI"),
    "cut short": (
        lambda f: image(f).write_bytes(image(f).read_bytes()[:900]),
        "no readable NIfTI",
    ),
    "cut mask": (
        lambda f: label(f).write_bytes(label(f).read_bytes()[:-40]),
        "no readable NIfTI",
    ),
    "missing image": (lambda f: image(f).unlink(), "No such file"),
    "missing mask": (lambda f: label(f).unlink(), "No such file"),
    "nan": (lambda f: changed(image(f), put(np.nan)), "1 NaN or infinite"),
    "inf": (lambda f: changed(image(f), put(-np.inf)), "1 NaN or infinite"),
    "strange label": (lambda f: changed(label(f), put(7)), "the value 7"),
    "half label": (lambda f: changed(label(f), put(0.5)), "the value 0.5"),
    "nan label": (lambda f: changed(label(f), put(np.nan)), "the value nan"),
    "other shape": (lambda f: changed(label(f), lambda a: a[:-1]), "as large as its image"),
    "4D image": (lambda f: changed(image(f), lambda a: np.stack([a, a], -1)), "1 modality make"),
    "4D mask": (lambda f: changed(label(f), lambda a: np.stack([a, a], -1)), "as its image"),
    "2D image": (lambda f: changed(image(f), lambda a: a[0]), "as large as its image"),
    "flat affine": (lambda f: flatten(image(f)), "affine"),
    "other directions": (lambda f: turned(label(f)), "directions"),
    "constant": (lambda f: changed(image(f), lambda a: a * 0 + 3), "same intensity everywhere"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_cases(tmp_path, case):
    folder = write_folder(tmp_path, len(NAMES))
    spoil, said = CASES[case]
    spoil(folder)
    with pytest.raises(UsageError) as caught:
        load_task(str(folder))
    text = str(caught.value)
    one_sentence(text)
    assert BAD in text and said in text and "\n" not in text, text
    task = load_task(str(folder), skip_bad="yes")
    assert any(note.startswith("Left out: ") and BAD in note for note in task.notes)
    assert BAD not in [*task.train.names, *task.val.names, *task.test.names]


INDEX = {
    "no labels": ({"labels": None}, "no labels"),
    "no modality": ({"modality": {}}, "no modality"),
    "one class": ({"labels": {"0": "background"}}, "a background 0"),
    "no background": ({"labels": {"1": "a", "2": "b"}}, "a background 0"),
    "words": ({"labels": {"zero": "a"}}, "whole number"),
    "no training": ({"training": []}, "no training cases"),
    "no list": ({"training": "all"}, "no list of training"),
    "no mask": ({"training": [{"image": "a.nii.gz"}]}, "training case 0"),
    "twice": (
        {"training": [{"image": "a.nii.gz", "label": "b.nii.gz"}] * 2},
        "'a' twice",
    ),
    "a number of tests": ({"test": 20}, "no list of test"),
    "too many labels": ({"labels": {str(i): f"l{i}" for i in range(300)}}, "300 labels"),
    "training and test": (
        {
            "training": [{"image": "a.nii.gz", "label": "b.nii.gz"}],
            "test": [{"image": "./a.nii.gz", "label": "b.nii.gz"}],
        },
        "for training and test",
    ),
}


@pytest.mark.parametrize("case", INDEX)
def test_bad_index(tmp_path, case):
    changes, said = INDEX[case]
    write_index(tmp_path, NAMES, **changes)
    refused(tmp_path, "dataset.json", said)


@pytest.mark.parametrize("content", ["", "{", "[]", "3"])
def test_damaged_index(tmp_path, content):
    (tmp_path / "dataset.json").write_text(content)
    refused(tmp_path, "dataset.json", "")


def test_a_folder_without_an_index(tmp_path):
    refused(tmp_path, "dataset.json", "Cannot read", domain="medical")


def refused(source, name, said, **options):
    with pytest.raises(UsageError) as caught:
        load_task(str(source), **options)
    text = str(caught.value)
    one_sentence(text)
    assert name in text and said in text, text


OPTIONS = {
    "unknown": ({"size": "3"}, "'size'"),
    "augment": ({"augment": "cutout"}, "augment='cutout'"),
    "none beside": ({"augment": "none,flip"}, "none,flip"),
    "fold": ({"fold": "6/5"}, "fold='6/5'"),
    "fold word": ({"fold": "first"}, "fold='first'"),
    "fold and val": ({"fold": "1/3", "split": "val=0.2"}, "give one of them"),
    "many folds": ({"fold": "1/50"}, "fold=1/50"),
    "labelled": ({"labelled": "0"}, "labelled='0'"),
    "patches": ({"patches": "0"}, "patches='0'"),
    "patient": ({"patient": "(p"}, "patient='(p'"),
    "no patient": ({"patient": "^x"}, "finds no patient in the name of the case 'ball_00'"),
    "one patient": ({"patient": "ball"}, "cannot be divided"),
    "many folds of patients": ({"fold": "1/9", "patient": r"_\d(\d)"}, "patients to divide"),
    "patch": ({"patch": "16x16"}, "patch=16x16 does not fit"),
    "odd patch": ({"patch": "16x17x16"}, "multiples of 8"),
    "spacing": ({"spacing": "1x0x1"}, "spacing='1x0x1'"),
    "seed": ({"seed": "-1"}, "seed='-1'"),
    "skip": ({"skip_bad": "maybe"}, "skip_bad='maybe'"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_bad_options(balls, case):
    options, said = OPTIONS[case]
    refused(balls, "", said, **options)


def test_a_class_that_no_validation_case_has(tmp_path):
    rng = np.random.default_rng(0)
    for name in NAMES:
        picture, mask = volume(rng, (16, 16, 16))
        mask[mask == 2] = 0
        write_case(tmp_path, name, picture, mask)
    write_index(tmp_path, NAMES)
    refused(tmp_path, "class2", "train split")


def test_all_cases_bad(tmp_path):
    folder = write_folder(tmp_path, 3)
    for path in (folder / "imagesTr").iterdir():
        path.write_bytes(b"")
    refused(folder, str(tmp_path), "no training case", skip_bad="yes")


def test_labels_as_newer_tools_write_them(tmp_path):
    folder = write_folder(tmp_path, 8)
    index = folder / "dataset.json"
    content = json.loads(index.read_text())
    content["labels"] = {"background": 0, "left": 1, "right": 2}
    index.write_text(json.dumps(content))
    assert load_task(str(folder)).classes == ("background", "left", "right")
