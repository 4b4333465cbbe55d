"""The tasks of medical imaging: segmentation of volumes, classification of MedMNIST's files."""

import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn
from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.progress import Reporter
from ..core.task import Recipe, Split, Task
from ..data.augment import parse_augment as parse_image_augment
from ..data.decathlon import Case, Decathlon, is_decathlon, read_decathlon
from ..data.inputs import image_preprocess, read_inputs
from ..data.npz import holds_volumes, read_npz
from ..data.rule import SplitRule
from ..data.volumes import Volumes
from .cases import Divided, divide
from .fingerprint import CaseFacts, Fingerprint, batch_of, examine, patch_of, whole_sides
from .masks import write_masks
from .options import check_known, folds_of, share_of, sides_of, spacing_of, whole_number, yes
from .pictures import draw_cases
from .scoring import HD95, Dice, DiceCE, WholeVolume
from .transforms import Patches, Preparation, parse_augment

AUGMENT = "affine,flip,intensity"
RECIPE = Recipe(
    batch_size=4, optimizer="adamw", lr=3e-3, weight_decay=1e-2, warmup=0.05, epochs=100
)


class Segmentation:
    """Reads decathlon folders; satisfies :class:`nas_domains.core.task.TaskLoader`."""

    options = ("augment", "fold", "labelled", "patch", "seed", "skip_bad", "spacing", "split")

    def accepts(self, source: str) -> bool:
        """Whether a path is a folder with a ``dataset.json``."""
        return is_decathlon(source)

    def takes(self, source: str) -> bool:
        """Any folder where the domain is named, so that what it lacks is said."""
        return os.path.isdir(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads a segmentation task.

        Args:
            source: The folder.
            **options: ``split`` (see :meth:`nas_domains.data.rule.SplitRule.parse`; the test is
                the end in sorted order), ``fold`` ("1/5": validation on the first of five folds),
                ``labelled`` (0.25: the share of training cases whose masks are used), ``patch``
                ("32x48x32"), ``spacing`` ("1x1x1", millimetres), ``augment`` (affine, flip,
                intensity, or none), ``seed`` of the split, ``skip_bad`` ("yes": cases that cannot
                be used are left out and listed).

        Returns:
            A task whose samples are x float32 [C, X, Y, Z] and y int64 [X, Y, Z].

        Raises:
            UsageError: An unknown option, a bad value, or a case that cannot be used.
        """
        check_known("decathlon", self.options, options)
        seed = whole_number("seed", options.get("seed", 0))
        augment = parse_augment(options.get("augment", AUGMENT))
        about = read_decathlon(source)
        facts, skipped = _examine(about, yes("skip_bad", options.get("skip_bad", "no")))
        divided = divide(
            source,
            [case for case in about.training if case in facts],
            [case for case in about.test if case in facts],
            rule=SplitRule.parse(options.get("split")),
            fold=folds_of(options.get("fold")),
            labelled=share_of("labelled", options.get("labelled", 1)),
            seed=seed,
        )
        _check_classes(source, about, divided, facts)
        print_of = Fingerprint([facts[case] for case in divided.train], about)
        spacing = spacing_of(options.get("spacing"), print_of.spacing)
        return _task(about, divided, print_of, spacing, options.get("patch"), augment, skipped)

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """Masks are written by :meth:`predict`, which reads volumes one by one."""
        raise UsageError(f"Volumes such as {source!r} are segmented by nas-domains predict.")

    def predict(
        self,
        network: nn.Module,
        source: str,
        preprocess: Mapping[str, Any],
        out: str | Path,
        reporter: Reporter,
    ) -> int:
        """Writes a mask for each volume; see :func:`nas_domains.medical.masks.write_masks`."""
        return write_masks(network, source, preprocess, Path(out), reporter)


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
    spacing: tuple[float, ...],
    patch_asked: object,
    augment: Sequence[str],
    skipped: Sequence[str],
) -> Task:
    usual = np.median(print_of.sides(spacing), 0).tolist()
    patch = patch_of(usual) if patch_asked is None else sides_of("patch", patch_asked)
    whole = whole_sides(usual, patch)
    # Volumes up to twice the usual size go through at once; others, and all where the usual one
    # is too large, in windows.
    most = 2 * int(np.prod(whole)) if whole is not None else 0
    infer = WholeVolume(window=patch, most=most)
    preprocess = {
        "loader": "decathlon",
        "modalities": list(about.modalities),
        "values": list(about.values),
        "spacing": list(spacing),
        "intensity": print_of.intensity(),
        "window": list(patch),
        "most": most,
    }
    classes = len(about.classes)
    prepare = Preparation(preprocess)
    splits = {
        name: Volumes(cases, prepare, Patches(patch, classes, augment))
        for name, cases in divided.splits.items()
    }
    recipe = {"batch_size": min(batch_of(patch), len(divided.train))}
    notes = [*print_of.notes(spacing), *divided.notes, _patch_note(patch, recipe["batch_size"])]
    notes += [f"Left out: {why}" for why in skipped]
    task = Task(
        name=about.name,
        domain="medical",
        train=splits["train"],
        val=splits["val"],
        test=splits["test"],
        input_shape=(len(about.modalities), *(patch if whole is None else whole)),
        outputs=classes,
        loss=DiceCE(),
        metrics={"dice": Dice(classes)},
        final_metrics={"hd95_mm": HD95(classes, spacing)},
        classes=about.classes,
        recipe=RECIPE,
        preprocess=preprocess,
        notes=tuple(notes),
        space="unet",
        infer=infer,
        passes=infer.passes([round(side) for side in usual]),
        illustrate=partial(draw_cases, splits["test"], infer, about.classes),
    )
    return task.with_recipe(**recipe)


def _patch_note(patch: Sequence[int], batch: int) -> str:
    sides = "x".join(map(str, patch))
    return f"Patches of {sides} voxels, {batch} a step, each around a class drawn at random."


class MedMnist:
    """Reads MedMNIST's .npz files, 2D and 3D; satisfies the protocol of task loaders."""

    options = ("augment", "seed", "split")

    def accepts(self, source: str) -> bool:
        """Never by itself: vision reads the same files."""
        return False

    def takes(self, source: str) -> bool:
        """Whether a path is an .npz file, where the domain is named."""
        return source.lower().endswith(".npz") and not os.path.isdir(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads a classification task.

        Args:
            source: The .npz file, of images [N, H, W(, C)] or volumes [N, D, H, W].
            **options: ``split``, ``augment`` (images only: shift, flip, cutout or none) and
                ``seed``, as vision's.

        Returns:
            A task whose x is float32 [C, H, W] or [C, D, H, W] and whose y is a class number.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        check_known("medmnist", self.options, options)
        rule = SplitRule.parse(options.get("split"))
        seed = whole_number("seed", options.get("seed", 0))
        volumes = holds_volumes(source)
        if volumes and options.get("augment") not in (None, "none"):
            raise UsageError("Volumes of an .npz file are not augmented: leave augment out.")
        parts = read_npz(source, rule, seed, volumes=volumes)
        preprocess = {"loader": "medmnist", **image_preprocess(parts.train, parts.values)}
        shape = tuple(parts.train[0][0].shape)
        asked = options.get("augment", "none" if volumes else "shift,flip")
        outputs = len(parts.classes)
        return Task(
            name=os.path.splitext(os.path.basename(source))[0],
            domain="medical",
            train=parts.train,
            val=parts.val,
            test=parts.test,
            input_shape=shape,
            outputs=outputs,
            loss=functional.cross_entropy,
            metrics=classification_metrics(("accuracy", "auc"), outputs),
            classes=parts.classes,
            augment=parse_image_augment(asked),
            recipe=Recipe(batch_size=32 if len(parts.train) < 1000 else 64),
            preprocess=preprocess,
            notes=parts.notes,
            space="darts:cells=4,channels=8" + (",dims=3" if volumes else ""),
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """Reads unlabelled images; see :func:`nas_domains.data.inputs.read_inputs`."""
        if len(preprocess["size"]) == 3:
            raise UsageError(
                f"Volumes such as {source!r} are not classified from files: load the network by "
                "nas_domains.load and call it."
            )
        return read_inputs(source, preprocess)


decathlon = Segmentation()
medmnist = MedMnist()
