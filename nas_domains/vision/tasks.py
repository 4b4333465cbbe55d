"""The tasks of vision: image classification from arrays, folders, tables, and bundled digits."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch.nn import functional

from ..core.errors import UsageError
from ..core.metrics import classification_metrics
from ..core.numbers import check_known, whole_from
from ..core.task import TUNING, Recipe, Split, Task
from ..data.augment import parse_augment
from ..data.files import parse_size, read_files
from ..data.folders import read_folder
from ..data.images import ImageParts
from ..data.inputs import image_preprocess, read_inputs
from ..data.npz import divide_arrays, read_npz
from ..data.rule import SplitRule
from ..data.seen import Seen, as_seen
from ..data.tables import read_table

Size = tuple[int, int] | None

_SMALL = 1000


@dataclass(frozen=True)
class ImageTask:
    """A loader of image classification tasks; satisfies :class:`nas_domains.core.task.TaskLoader`.

    Attributes:
        name: Name in the registry.
        reads: Whether a source is this loader's.
        read: (source, rule, seed, size) -> the splits.
        augment: The ``augment`` option where none is given.
        sized: Whether the option ``size`` is understood without ``checkpoint``.
    """

    name: str
    reads: Callable[[str], bool]
    read: Callable[[str, SplitRule, int, Size], ImageParts]
    augment: str
    sized: bool

    @property
    def options(self) -> tuple[str, ...]:
        """Names of the options that :meth:`load` understands."""
        return ("augment", "checkpoint", "seed", "size", "split")

    def accepts(self, source: str) -> bool:
        """Whether this loader reads that path or name; cheap, and never raises."""
        return self.reads(source)

    def load(self, source: str, **options: Any) -> Task:
        """Reads a classification task.

        Args:
            source: A path, or the bundled name.
            **options: ``split`` (see :meth:`nas_domains.data.rule.SplitRule.parse`), ``augment``
                ("none", or some of shift, flip, cutout), ``seed`` of the split (0), and for image
                files ``size`` (64, or 64x48; default the median size, at most 224).
                ``checkpoint``, the folder of a pretrained encoder, gives any images the channels,
                the normalisation and, where no ``size`` is asked for, the size that it saw.

        Returns:
            A task whose x is float32 [C, H, W] and whose y is a class number. Fewer than 1,000
            training images are trained on in batches of 32, more in batches of 64; encoders are
            fine-tuned in batches of 16.

        Raises:
            UsageError: An unknown option, a bad value, or data that cannot be used.
        """
        check_known(self.name, self.options, options)
        rule = SplitRule.parse(options.get("split"))
        asked = options.get("augment")
        augment = parse_augment(self.augment if asked is None else asked)
        size = parse_size(options.get("size"))
        seen = seen_of(options.get("checkpoint"), size)
        if size is not None and seen is None and not self.sized:
            raise UsageError(
                f"The task {self.name!r} has no option 'size' without a checkpoint: its images "
                "are taken as stored."
            )
        size = size if seen is None else seen.size
        seed = whole_from("seed", options.get("seed", 0), 0)
        parts = self.read(source, rule, seed, size if self.sized else None)
        recipe = Recipe(batch_size=32 if len(parts.train) < _SMALL else 64)
        told: dict[str, str] = {}
        more: dict[str, Any] = {}
        if seen is not None:
            parts = as_seen(parts, seen, source)
            recipe, told = TUNING, {"checkpoint": os.path.abspath(str(options["checkpoint"]))}
            more = {"space": f"vision-transformer:checkpoint={told['checkpoint']}"}
        preprocess = {"loader": self.name, **image_preprocess(parts.train, parts.values), **told}
        channels, (height, width) = preprocess["channels"], preprocess["size"]
        outputs = len(parts.classes)
        return Task(
            name=os.path.splitext(os.path.basename(os.path.normpath(source)))[0],
            domain="vision",
            train=parts.train,
            val=parts.val,
            test=parts.test,
            input_shape=(channels, height, width),
            outputs=outputs,
            loss=functional.cross_entropy,
            metrics=classification_metrics(("accuracy", "auc", "f1"), outputs),
            classes=parts.classes,
            augment=augment,
            recipe=recipe,
            **more,
            preprocess=preprocess,
            notes=parts.notes,
        )

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """Reads unlabelled images; see :func:`nas_domains.data.inputs.read_inputs`."""
        return read_inputs(source, preprocess)


def seen_of(folder: object, size: Size) -> Seen | None:
    """What the checkpoint in a folder saw, in the size that is asked for; None without one.

    Raises:
        UsageError: No such checkpoint.
    """
    if folder is None or folder == "":
        return None
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            "The option checkpoint needs transformers: pip install 'nas_domains[vision]'."
        )
    from .checkpoint import open_image_checkpoint

    seen = open_image_checkpoint(folder).seen
    return seen if size is None else replace(seen, size=size)


def _read_digits(source: str, rule: SplitRule, seed: int, size: Size) -> ImageParts:
    """Alpaydin and Kaynak's digits: 1,797 of 8x8 pixels, writers in sequence.

    The test is the end of the whole, so that most of its writers were never trained on.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = (bunch.images / 16.0).astype(np.float32)[..., None]
    labels = bunch.target.astype(np.int64)
    classes = tuple(str(name) for name in bunch.target_names)
    return divide_arrays(
        source, {"train": images}, {"train": labels}, classes, rule, seed, by_class=False
    )


def _read_npz(source: str, rule: SplitRule, seed: int, size: Size) -> ImageParts:
    return read_npz(source, rule, seed)


def _read_folder(source: str, rule: SplitRule, seed: int, size: Size) -> ImageParts:
    return read_files(read_folder(source), rule, seed, size)


def _read_table(source: str, rule: SplitRule, seed: int, size: Size) -> ImageParts:
    return read_files(read_table(source), rule, seed, size)


def _is_file(ending: str) -> Callable[[str], bool]:
    return lambda source: source.lower().endswith(ending) and not os.path.isdir(source)


digits = ImageTask("digits", lambda source: source == "digits", _read_digits, "shift", False)
npz = ImageTask("npz", _is_file(".npz"), _read_npz, "shift,flip", False)
folder = ImageTask("folder", os.path.isdir, _read_folder, "shift,flip", True)
csv = ImageTask("csv", _is_file(".csv"), _read_table, "shift,flip", True)
