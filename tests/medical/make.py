"""Tiny data sets for the tests of medical imaging."""

import json
from pathlib import Path

import nibabel
import numpy as np

CASES = 12


def volume(rng, shape, classes=3):
    """An image [X, Y, Z] with a bright ball of each class, and its mask."""
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    label = np.zeros(shape, np.uint8)
    for number in range(1, classes):
        centre = [s * number / classes + rng.uniform(-1, 1) for s in shape]
        label[((grid - centre) ** 2).sum(-1) < 9] = number
    image = 100.0 * label + rng.normal(50, 5, shape)
    return image.astype(np.float32), label


def write_case(folder, name, image, label, affine=None):
    """Writes ``imagesTr/name.nii.gz`` and its mask."""
    for kind, array in (("imagesTr", image), ("labelsTr", label)):
        place = Path(folder) / kind
        place.mkdir(parents=True, exist_ok=True)
        own = np.eye(4) if affine is None else affine
        nibabel.save(nibabel.Nifti1Image(array, own), place / f"{name}.nii.gz")


def write_index(folder, names, modalities=("MRI",), classes=3, **changes):
    """Writes ``dataset.json``."""
    content = {
        "name": "Balls",
        "modality": {str(i): name for i, name in enumerate(modalities)},
        "labels": {str(i): f"class{i}" if i else "background" for i in range(classes)},
        "training": [
            {"image": f"./imagesTr/{n}.nii.gz", "label": f"./labelsTr/{n}.nii.gz"} for n in names
        ],
        **changes,
    }
    (Path(folder) / "dataset.json").write_text(json.dumps(content))


def write_folder(folder, cases=CASES, shape=(16, 18, 17), modalities=("MRI",), affine=None):
    """A whole data set of balls; sizes vary by case."""
    rng = np.random.default_rng(0)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"ball_{i:02}" for i in range(cases)]
    for i, name in enumerate(names):
        image, label = volume(rng, tuple(s + i % 3 for s in shape))
        if len(modalities) > 1:
            image = np.stack([image, *(image.max() - image for _ in modalities[1:])], -1)
        write_case(folder, name, image, label, affine)
    write_index(folder, names, modalities)
    return folder
