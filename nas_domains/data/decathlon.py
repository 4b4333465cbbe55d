"""Folders in the Medical Segmentation Decathlon's layout: ``dataset.json`` and NIfTI files."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError

INDEX = "dataset.json"


@dataclass(frozen=True)
class Case:
    """One patient's images.

    Attributes:
        name: The image's file name without its ending.
        image: Path of the image.
        label: Path of the mask; "" where there is none.
        patient: Whose it is, where several cases may be of one patient; else "".
    """

    name: str
    image: str
    label: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Decathlon:
    """What ``dataset.json`` says.

    Attributes:
        name: Of the data set.
        modalities: One name for each channel of an image, such as "MRI" or "CT".
        classes: Names of the classes; the background is first.
        values: The value of each class in the masks, ascending.
        training: Labelled cases, in sorted order of their names.
        test: Labelled test cases, likewise; empty where the test has no masks.
    """

    name: str
    modalities: tuple[str, ...]
    classes: tuple[str, ...]
    values: tuple[int, ...]
    training: tuple[Case, ...]
    test: tuple[Case, ...]


def is_decathlon(source: str) -> bool:
    """Whether a path is such a folder."""
    return os.path.isfile(os.path.join(source, INDEX))


def read_decathlon(folder: str) -> Decathlon:
    """Reads ``dataset.json``; images and masks are not opened.

    Args:
        folder: It holds ``dataset.json``, and the images that this names.

    Raises:
        UsageError: The file is missing, damaged, or lacks what it should say.
    """
    path = os.path.join(folder, INDEX)
    if not os.path.isdir(folder):
        raise UsageError(f"No such folder: {folder!r}.")
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except OSError as error:
        raise UsageError(
            f"Cannot read {path!r} ({error.strerror}): a decathlon folder has one."
        ) from None
    except ValueError:
        raise UsageError(f"{path!r} is no JSON: restore it from a copy.") from None
    if not isinstance(content, dict):
        raise UsageError(f"{path!r} holds no object: it names modality, labels and training.")
    modalities = _named(path, "modality", content.get("modality", content.get("channel_names")))
    labels = _named(path, "labels", content.get("labels"))
    if min(labels) != 0 or len(labels) < 2:
        raise UsageError(
            f"{path!r} lists the labels {', '.join(map(str, labels))}: a background 0 and at "
            "least one more are needed."
        )
    if len(labels) > _MOST_CLASSES:
        raise UsageError(
            f"{path!r} lists {len(labels)} labels, more than {_MOST_CLASSES}: join some of them."
        )
    training = _cases(path, folder, "training", content.get("training"))
    if not training:
        raise UsageError(f"{path!r} lists no training cases: name images and their labels.")
    # The decathlon's own test cases have no masks, and are then plain paths.
    listed = content.get("test") or []
    if not isinstance(listed, list):
        raise UsageError(f"{path!r} has no list of test cases: write one, or leave test out.")
    tests = _cases(path, folder, "test", [entry for entry in listed if isinstance(entry, dict)])
    known = {case.image for case in training}
    both = next((case.image for case in tests if case.image in known), None)
    if both is not None:
        raise UsageError(f"{path!r} names {both!r} for training and test: name it for one.")
    return Decathlon(
        name=str(content.get("name") or os.path.basename(os.path.abspath(folder))),
        modalities=tuple(modalities.values()),
        classes=tuple(labels.values()),
        values=tuple(labels),
        training=training,
        test=tests,
    )


def _named(path: str, key: str, given: Any) -> dict[int, str]:
    """Number -> name in ascending order, of {"0": "name"} or {"name": 0}."""
    if not isinstance(given, Mapping) or not given:
        raise UsageError(f'{path!r} has no {key}: write {{"0": "name", ...}}.')
    found: dict[int, str] = {}
    for a, b in given.items():
        number, name = (b, a) if isinstance(b, int) else (a, b)
        try:
            found[int(number)] = str(name)
        except (TypeError, ValueError):
            raise UsageError(
                f"{path!r} has {a!r}: {b!r} in its {key}, where one must be a whole number."
            ) from None
    return dict(sorted(found.items()))


def _cases(path: str, folder: str, key: str, given: Any) -> tuple[Case, ...]:
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise UsageError(f"{path!r} has no list of {key} cases.")
    cases = []
    for number, entry in enumerate(given):
        files = [entry.get(kind) if isinstance(entry, dict) else None for kind in _KINDS]
        if not all(isinstance(name, str) and name for name in files):
            raise UsageError(f"{path!r}: {key} case {number} does not name an image and a label.")
        image, label = (os.path.normpath(os.path.join(folder, str(name))) for name in files)
        cases.append(Case(case_name(image), image, label))
    names = [case.name for case in cases]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise UsageError(f"{path!r} names the {key} case {double!r} twice: name it once.")
    return tuple(sorted(cases, key=lambda case: case.name))


_KINDS = ("image", "label")
_MOST_CLASSES = 256


def case_name(path: str) -> str:
    """A NIfTI file's name without its ending."""
    name = os.path.basename(path)
    for ending in (".nii.gz", ".nii"):
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name
