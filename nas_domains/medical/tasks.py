"""The tasks of medical imaging: segmentation of volumes, classification of MedMNIST's files.

Every source whose domain is not named is shown to them, so nothing here imports MONAI before it is
needed: that takes seconds.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.numbers import check_known, whole_from
from ..core.progress import Reporter
from ..core.task import Recipe, Split, Task
from ..data.augment import parse_augment
from ..data.decathlon import is_decathlon
from ..data.inputs import image_preprocess, read_inputs
from ..data.npz import holds_volumes, read_npz
from ..data.rule import SplitRule


class Segmentation:
    """Reads decathlon folders; satisfies :class:`nas_domains.core.task.TaskLoader`."""

    options = (
        "augment", "dims", "fold", "labelled", "patch", "patches", "patient", "seed", "skip_bad",
        "spacing", "split",
    )  # fmt: skip
    predictions = "predictions"

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
                ``patient`` (a regular expression that finds the patient in a case's name, whose
                cases then stay in one split), ``labelled`` (0.25: the share of training cases
                whose masks are used), ``dims`` (2: slices one by one, across the axis of the
                longest voxels; as a rule for images of one slice), ``patch`` ("32x48x32", of
                slices "32x48"), ``patches`` (of each case in an
                epoch; as many as make scoring the validation cases a small share of it),
                ``spacing`` ("1x1x1", millimetres), ``augment`` (affine, flip, intensity, or
                none), ``seed`` of the split, ``skip_bad`` ("yes": cases that cannot be used are
                left out and listed).

        Returns:
            A task whose samples are x float32 [C, X, Y, Z] and y int64 [X, Y, Z]; its batches
            are of patches with ``dims`` sides.

        Raises:
            UsageError: An unknown option, a bad value, or a case that cannot be used.
        """
        from .segmentation import segmentation

        check_known("decathlon", self.options, options)
        return segmentation(source, options)

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
        from .masks import write_masks

        return write_masks(network, source, preprocess, Path(out), reporter)


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
        seed = whole_from("seed", options.get("seed", 0), 0)
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
            augment=parse_augment(asked),
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
