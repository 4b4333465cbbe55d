"""A task: the data splits, loss, metrics and training recipe of one problem."""

import hashlib
import json
import math
import numbers
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from .errors import UsageError
from .metrics import classification_metrics
from .seeds import seed_all

Augment = Callable[[Tensor, Tensor, torch.Generator], tuple[Tensor, Tensor]]
"""(x [B, ...], y [B, ...], generator) -> the same, changed at random from the generator only."""


IGNORED = -100
"""Class of a place of a sample that has none; torch's cross-entropy leaves it out."""


@runtime_checkable
class Split(Protocol):
    """One split: any map-style torch data set of (x, y) pairs.

    A split may also have ``batch(indices: Sequence[int]) -> (x, y)``, which returns stacked
    tensors at once and saves the collation of single samples, and ``labels`` and ``groups`` [N],
    by which a search divides it into halves. Where samples are larger than what is trained on,
    ``batch`` returns a fixed piece of each, ``draw(indices, generator) -> (x, y)`` one at random
    for a training step, from the generator only, and indexing the whole sample; ``repeats`` is
    then how many pieces of a sample an epoch takes, and ``original(index, output [1, ...]) ->
    (output, y)`` brings an output back to the form in which the sample was given, where it is
    scored once it is tested. ``names`` [N] are what the samples are called
    in the report.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


_WORDS = {"optimizer": ("sgd", "adamw"), "schedule": ("cosine", "linear")}
"""Fields of the recipe that are words, and which."""


@dataclass(frozen=True)
class Recipe:
    """How every network of a task is trained; one recipe for all rows that are compared.

    Attributes:
        batch_size: Samples a step.
        lr: Peak learning rate.
        momentum: Momentum of SGD, without Nesterov's.
        weight_decay: L2 penalty, as in SGD; decoupled in AdamW, and of matrices only.
        warmup: Share of the steps over which the learning rate rises linearly from zero.
        grad_clip: Largest norm of the gradient.
        label_smoothing: Label smoothing of the cross-entropy in training.
        drop_path: Final probability of dropping a path of a cell network, rising linearly.
        epochs: Epochs of a full training where no budget is given.
        optimizer: "sgd", or "adamw" (Loshchilov & Hutter 2019, arXiv 1711.05101).
        schedule: How the learning rate falls to zero: "cosine" or "linear".
        average: Epochs over which weights are averaged, with exponentially falling shares: the
            average is scored and kept in place of the weights; they are themselves where 0.
    """

    batch_size: int = 64
    lr: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup: float = 0.1
    grad_clip: float = 5.0
    label_smoothing: float = 0.0
    drop_path: float = 0.0
    epochs: int = 30
    optimizer: str = "sgd"
    schedule: str = "cosine"
    average: float = 0.0

    def __post_init__(self) -> None:
        for spec in fields(self):
            value = getattr(self, spec.name)
            if spec.name in _WORDS:
                if value not in _WORDS[spec.name]:
                    raise UsageError(
                        f"The recipe's {spec.name}={value!r} must be "
                        f"{' or '.join(_WORDS[spec.name])}."
                    )
                continue
            whole = isinstance(spec.default, int)
            kind: Any = numbers.Integral if whole else numbers.Real
            if not isinstance(value, kind) or isinstance(value, bool) or not math.isfinite(value):
                raise UsageError(
                    f"The recipe's {spec.name}={value!r} must be a "
                    f"{'whole' if whole else 'finite'} number."
                )
        rules = {
            "batch_size": self.batch_size >= 1,
            "lr": self.lr > 0,
            "momentum": 0 <= self.momentum < 1,
            "weight_decay": self.weight_decay >= 0,
            "warmup": 0 <= self.warmup < 1,
            "grad_clip": self.grad_clip > 0,
            "label_smoothing": 0 <= self.label_smoothing < 1,
            "drop_path": 0 <= self.drop_path < 1,
            "epochs": self.epochs >= 1,
            "average": self.average >= 0,
        }
        for name, good in rules.items():
            if not good:
                raise UsageError(
                    f"The recipe's {name}={getattr(self, name)} is out of range: "
                    "see nas_domains.Recipe for what it may be."
                )


TUNING = Recipe(
    batch_size=16,
    lr=1e-4,
    weight_decay=0.01,
    grad_clip=1.0,
    epochs=5,
    optimizer="adamw",
    schedule="linear",
)
"""Of fine-tuning a pretrained encoder."""


@dataclass(frozen=True)
class Task:
    """Data splits + loss + metrics + training recipe of one problem of a domain.

    Attributes:
        name: Short name, used in reports.
        domain: "vision", "medical", "text", "speech", or "" for one made in Python.
        train: Split that weights are fitted on.
        val: Split that selects.
        test: Split that is scored once, at the end.
        input_shape: Shape of one x, without the batch: (C, H, W) for images. Where samples differ
            in size, that of a usual one as ``infer`` gives it to the network. Texts have no one
            shape: then it is some lengths in tokens that stand for the training split, ascending.
        outputs: Size of the network's output: classes, of a classification.
        loss: (output [B, outputs, ...], y) -> scalar mean over the batch.
        metrics: Name -> torchmetrics object, updated with (output, y); fractions; the first is the
            default objective. One that has ``each() -> [N, ...]`` says what each sample scored.
        classes: Names of the classes, in the order of the labels; empty where there are none.
        augment: Random change of a training batch, or None.
        recipe: The training recipe.
        preprocess: JSON-able description of how raw data became x; ``predict`` repeats it.
        notes: Sentences about the data for the report (e.g. how it was split).
        space: The space that is searched where none is named.
        infer: (network, x [1, ...]) -> output for one whole sample, where it is larger than what
            the network is trained on or samples differ in size; None where batches go through
            the network as they are.
        passes: How many passes of ``input_shape`` a usual sample takes in ``infer``; its latency
            is that of all of them.
        final_metrics: Further metrics, which are computed on the test split alone, since they
            take long.
        illustrate: (network, numbers of test samples, folder) -> None: draws them, with what the
            network makes of them, as PNG files for the report; None where there is nothing to see.
    """

    name: str
    domain: str
    train: Split
    val: Split
    test: Split
    input_shape: tuple[int, ...]
    outputs: int
    loss: Callable[[Tensor, Tensor], Tensor]
    metrics: Mapping[str, Metric]
    classes: tuple[str, ...] = ()
    augment: Augment | None = None
    recipe: Recipe = field(default_factory=Recipe)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    space: str = "darts:cells=4,channels=8"
    infer: Callable[[nn.Module, Tensor], Tensor] | None = None
    passes: int = 1
    final_metrics: Mapping[str, Metric] = field(default_factory=dict)
    illustrate: Callable[[nn.Module, Sequence[int], Path], None] | None = None

    def __post_init__(self) -> None:
        for name in ("train", "val", "test"):
            if len(getattr(self, name)) == 0:
                raise UsageError(
                    f"The {name} split of {self.name!r} is empty: give it samples or change "
                    "--split."
                )
        if not self.metrics:
            raise UsageError(f"The task {self.name!r} has no metrics: name at least one.")

    @staticmethod
    def from_datasets(
        train: Split,
        val: Split,
        test: Split,
        *,
        loss: Callable[[Tensor, Tensor], Tensor] | None = None,
        metrics: Sequence[str] | Mapping[str, Metric] = ("accuracy", "auc", "f1"),
        outputs: int | None = None,
        classes: Sequence[str] = (),
        augment: Augment | None = None,
        recipe: Recipe | None = None,
        name: str = "task",
    ) -> "Task":
        """Makes a task of anything torch can load.

        Args:
            train: Map-style data set of (x, y); x a float tensor, y an integer label by default.
            val: The same, for selection.
            test: The same, scored once.
            loss: (output, y) -> scalar; cross-entropy by default.
            metrics: Names out of accuracy, auc, f1, or name -> torchmetrics object.
            outputs: Size of the network's output; by default ``len(classes)``, or one more than
                the largest label of the training split.
            classes: Names of the classes.
            augment: See :data:`Augment`.
            recipe: Training recipe; :class:`Recipe`'s defaults where None.
            name: Name used in reports.

        Returns:
            The task, of no domain.

        Raises:
            UsageError: A split that is empty or whose samples are not (tensor, label) pairs, or an
                unknown metric.
        """
        for split_name, split in (("train", train), ("val", val), ("test", test)):
            if len(split) == 0:
                raise UsageError(f"The {split_name} data set is empty: give it samples.")
        shape = _input_shape(train, "train")
        for split_name, split in (("val", val), ("test", test)):
            other = _input_shape(split, split_name)
            if other != shape:
                raise UsageError(
                    f"{split_name}[0] has shape {other} and train[0] {shape}: "
                    "bring them to one shape."
                )
        if outputs is None:
            outputs = len(classes) or 1 + max(_label(train, i) for i in range(len(train)))
        return Task(
            name=name,
            domain="",
            train=train,
            val=val,
            test=test,
            input_shape=shape,
            outputs=outputs,
            loss=loss or nn.functional.cross_entropy,
            metrics=classification_metrics(metrics, outputs),
            classes=tuple(classes),
            augment=augment,
            recipe=recipe or Recipe(),
        )

    def with_recipe(self, **changes: Any) -> "Task":
        """The same task with some fields of the recipe changed.

        Raises:
            UsageError: A field that the recipe does not have, or a value out of range.
        """
        known = [spec.name for spec in fields(Recipe)]
        for name in changes:
            if name not in known:
                raise UsageError(f"The recipe has no {name!r}: it has {', '.join(known)}.")
        return replace(self, recipe=replace(self.recipe, **changes))

    def fingerprint(self) -> str:
        """A short hash of the data and its shape, by which a resumed run knows its data again.

        It reads at most 64 samples a split, evenly spaced.
        """
        # A data set that changes its samples at random then reads the same each time.
        seed_all(0, "fingerprint")
        digest = hashlib.sha256(repr((self.input_shape, self.outputs)).encode())
        if "vocabulary" in self.preprocess:
            digest.update(json.dumps(self.preprocess["vocabulary"], sort_keys=True).encode())
        for split in (self.train, self.val, self.test):
            n = len(split)
            digest.update(str(n).encode())
            for i in sorted({i * n // 64 for i in range(64)}):
                x, y = split[i]
                for value in (x, y):
                    tensor = torch.as_tensor(value).detach().cpu().contiguous()
                    digest.update(tensor.numpy().tobytes())
        return digest.hexdigest()[:16]


def _input_shape(split: Split, name: str) -> tuple[int, ...]:
    try:
        x, _ = split[0]
        found = torch.as_tensor(x)
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        raise UsageError(
            f"{name}[0] is not an (x, y) pair of a tensor and a label: wrap the data set so "
            f"that it is ({_first_line(error)})."
        ) from None
    if not found.is_floating_point():
        raise UsageError(f"The x of {name}[0] is {found.dtype}: convert it to a floating type.")
    return tuple(found.shape)


def _label(split: Split, index: int) -> int:
    try:
        label = float(split[index][1])
    except (TypeError, ValueError, LookupError, RuntimeError):
        label = math.nan
    if not label.is_integer() or label < 0:
        raise UsageError(
            f"The label of train[{index}] is not a whole number from 0: name outputs= where y is "
            "something else."
        )
    return int(label)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


class TaskLoader(Protocol):
    """What a domain registers in ``registry.tasks``: it turns a source into a task.

    ``accepts`` is called with each source whose task is not named; ``load`` once a run; ``inputs``
    by ``predict``, on data without labels. A loader may also have ``takes(source) -> bool``, asked
    where the domain is named but no loader of it accepts the source, and
    ``predict(network, source, preprocess, out, reporter) -> count``, which writes predictions in a
    form of its own instead of a CSV of classes, and ``predictions``, the name of what it writes.
    """

    def accepts(self, source: str) -> bool:
        """Whether this loader reads that path or name; cheap, and never raises."""
        ...

    def load(self, source: str, **options: Any) -> Task:
        """Reads the data. Options that it does not know are a UsageError that lists its own."""
        ...

    def inputs(self, source: str, preprocess: Mapping[str, Any]) -> tuple[list[str], Split]:
        """The names and the inputs (x, placeholder label) of unlabelled data, prepared alike."""
        ...


def load_task(source: str, *, domain: str | None = None, **options: Any) -> Task:
    """Loads a task from a path or a bundled name; the domain is read off the data, or named.

    Args:
        source: A path (``breastmnist.npz``, a folder of images, a CSV) or a name (``digits``).
        domain: "vision", "medical", "text" or "speech", where the data alone does not tell.
        **options: Options of the loader, such as ``split="0.2"`` or ``augment="shift,flip"``.

    Raises:
        UsageError: Nothing reads that source, or its content is not what it should be.
    """
    loader = find_loader(source, domain)
    task: Task = loader.load(source, **options)
    return task


def find_loader(source: str, domain: str | None = None) -> TaskLoader:
    """The first registered loader that accepts a source; see :func:`load_task`."""
    from .registry import tasks

    domains = sorted({entry.domain for entry in tasks})
    if domain is not None and domain not in domains:
        raise UsageError(f"Unknown domain {domain!r}: known are {', '.join(domains)}.")
    own = [entry for entry in tasks if entry.domain == domain]
    for entry in tasks:
        if domain in (None, entry.domain) and not entry.missing:
            loader: TaskLoader = entry.load()
            # The only one of a domain that is named is the one that can say what is amiss.
            if loader.accepts(source) or (len(own) == 1 and os.path.exists(source)):
                return loader
    for entry in tasks if domain is not None else ():
        if entry.domain == domain:
            # Loading says which extra is missing.
            takes = getattr(entry.load(), "takes", None)
            if takes is not None and takes(source):
                return cast(TaskLoader, entry.load())
    if "/" not in source and "." not in source:
        return cast(TaskLoader, tasks.load(source))
    if not os.path.exists(source):
        raise UsageError(f"No such file or folder: {source!r}.")
    known = "; ".join(f"{entry.name}: {entry.summary}" for entry in tasks)
    raise UsageError(f"Nothing here reads {source!r}: the tasks are {known}.")
