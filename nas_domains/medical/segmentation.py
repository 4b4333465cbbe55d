"""The task of segmenting the volumes of a decathlon folder."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ..core.errors import UsageError
from ..core.numbers import whole_from
from ..core.task import Recipe, Task
from ..data.decathlon import Case, Decathlon, read_decathlon
from ..data.nifti import is_flat
from ..data.rule import SplitRule
from ..data.volumes import Volumes
from .cases import Divided, divide
from .fingerprint import (
    CaseFacts,
    Fingerprint,
    batch_of,
    examine,
    patch_of,
    patches_of,
    whole_sides,
)
from .options import (
    dims_of,
    folds_of,
    patient_of,
    pattern_of,
    share_of,
    sides_of,
    spacing_of,
    yes,
)
from .pictures import draw_cases
from .scoring import HD95, Dice, DiceCE, WholeVolume
from .transforms import Patches, Preparation, parse_augment

AUGMENT = "affine,flip,intensity"
PATCHES = 200
"""Patches of each case, or of each slice, in a training where no budget is given."""
_AXES = ("left-right", "back-front", "down-up")
RECIPE = Recipe(
    batch_size=4, optimizer="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.05, average=1.0
)


def segmentation(source: str, options: Mapping[str, Any]) -> Task:
    """Reads a segmentation task; see :meth:`nas_domains.medical.tasks.Segmentation.load`."""
    seed = whole_from("seed", options.get("seed", 0), 0)
    augment = parse_augment(options.get("augment", AUGMENT))
    skip = yes("skip_bad", options.get("skip_bad", "no"))
    rule, fold = SplitRule.parse(options.get("split")), folds_of(options.get("fold"))
    labelled = share_of("labelled", options.get("labelled", 1))
    patch = None if options.get("patch") is None else sides_of("patch", options["patch"])
    dims = dims_of(options.get("dims"))
    asked = None if options.get("spacing") is None else spacing_of(options["spacing"])
    patches = None
    if options.get("patches") is not None:
        patches = whole_from("patches", options["patches"], 1)
    pattern = pattern_of(options.get("patient"))
    about = read_decathlon(source)
    if pattern is not None:
        own = [
            tuple(replace(case, patient=patient_of(case, pattern)) for case in cases)
            for cases in (about.training, about.test)
        ]
        about = replace(about, training=own[0], test=own[1])
    # All options are checked by now: reading the cases takes longest.
    facts, skipped = _examine(about, skip)
    divided = divide(
        source,
        [case for case in about.training if case in facts],
        [case for case in about.test if case in facts],
        rule=rule,
        fold=fold,
        labelled=labelled,
        seed=seed,
    )
    _check_classes(source, about, divided, facts)
    print_of = Fingerprint([facts[case] for case in divided.train], about)
    axis = print_of.axis(dims)
    if patch is not None and len(patch) != (3 if axis is None else 2):
        kind = "volumes, three" if axis is None else "slices, two"
        raise UsageError(
            f"patch={options['patch']} does not fit {source!r}, which is trained on {kind} sides: "
            "change patch or dims."
        )
    return _task(about, divided, print_of, asked, axis, patch, patches, augment, skipped)


def _examine(about: Decathlon, skip: bool) -> tuple[dict[Case, CaseFacts], list[str]]:
    """Reads every case once; a bad one is an error, or is listed where it may be skipped."""
    facts: dict[Case, CaseFacts] = {}
    skipped = []
    for case in (*about.training, *about.test):
        try:
            facts[case] = examine(case, about)
        except UsageError as error:
            if not skip:
                raise UsageError(
                    f"{str(error).rstrip('.')}, or leave bad cases out by --option skip_bad=yes."
                ) from None
            skipped.append(str(error))
    return facts, skipped


def _check_classes(
    source: str, about: Decathlon, divided: Divided, facts: Mapping[Case, CaseFacts]
) -> None:
    """Each class must be seen in training and once in validation, or there is nothing to score."""
    for name, cases in (("train", divided.train), ("val", divided.val)):
        volumes = np.array([facts[case].volumes for case in cases]).sum(0)
        for number, label in enumerate(about.classes):
            if volumes[number] == 0:
                raise UsageError(
                    f"No case of the {name} split of {source!r} has the class {label!r}: change "
                    "split, fold or seed, or take the class out of dataset.json."
                )


def _task(
    about: Decathlon,
    divided: Divided,
    print_of: Fingerprint,
    asked: tuple[float, ...] | None,
    axis: int | None,
    patch: tuple[int, ...] | None,
    patches: int | None,
    augment: Sequence[str],
    skipped: Sequence[str],
) -> Task:
    # Slices are left as far from each other as they are, unless that is asked for.
    common = print_of.spacing
    spacing = asked or tuple(0.0 if i == axis else side for i, side in enumerate(common))
    usual = np.median(print_of.sides(spacing), 0).tolist()
    sides = [side for i, side in enumerate(usual) if i != axis]
    patch = patch or patch_of(sides)
    whole = whole_sides(sides, patch)
    # Volumes up to twice the usual size go through at once; others, and all where the usual one
    # is too large, in windows.
    most = 2 * int(np.prod(whole)) if whole is not None else 0
    preprocess = {
        "loader": "decathlon",
        "modalities": list(about.modalities),
        "values": list(about.values),
        "spacing": list(spacing),
        "intensity": print_of.intensity(),
        "window": list(patch),
        "most": most,
        "axis": axis,
        "flat": is_flat(divided.train[0].image, len(about.modalities)),
    }
    infer = WholeVolume.of(preprocess)
    classes = len(about.classes)
    prepare = Preparation(preprocess)
    size = patch if whole is None else whole
    passes = infer.passes([round(side) for side in usual])
    slices = 1 if axis is None else round(usual[axis])
    if patches is None:
        voxels = passes * int(np.prod(size))
        patches = patches_of(len(divided.train), patch, len(divided.val), voxels, slices)
    splits = {
        name: Volumes(cases, prepare, Patches(patch, classes, augment, axis), repeats=patches)
        for name, cases in divided.splits.items()
    }
    recipe = {
        "batch_size": min(batch_of(patch), patches * len(divided.train)),
        "epochs": -(-PATCHES * slices // patches),
    }
    notes = [*print_of.notes(spacing), *divided.notes]
    notes.append(_patch_note(patch, recipe["batch_size"], patches, axis))
    notes += [f"Left out: {why}" for why in skipped]
    task = Task(
        name=about.name,
        domain="medical",
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        input_shape=(len(about.modalities), *size),
        outputs=classes,
        loss=DiceCE(),
        metrics={"dice": Dice(classes)},
        final_metrics={"hd95_mm": HD95(classes, asked or common)},
        classes=about.classes,
        recipe=RECIPE,
        preprocess=preprocess,
        notes=tuple(notes),
        space="unet",
        infer=infer,
        passes=passes,
        illustrate=partial(draw_cases, splits["test"], infer, about.classes),
    )
    return task.with_recipe(**recipe)


def _patch_note(patch: Sequence[int], batch: int, patches: int, axis: int | None) -> str:
    sides = "x".join(map(str, patch))
    of = "" if axis is None else f" of slices across {_AXES[axis]}"
    return (
        f"Patches of {sides} voxels{of}, {batch} a step, each around a class drawn at random; "
        f"{patches} of each case make an epoch."
    )
