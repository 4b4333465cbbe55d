"""Predictions of a run's network on new data."""

import csv
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..core.errors import UsageError
from ..core.files import check_place, write_text
from ..core.progress import Reporter
from ..core.registry import tasks
from ..core.space import SearchSpace
from ..core.task import TaskLoader
from ..evaluation.stream import gather
from ..nn.model_space import Model
from .load import load, load_description

BATCH = 64


def predict(
    run: str | Path,
    source: str,
    out: str | Path,
    *,
    space: SearchSpace | Model | None = None,
    quiet: bool = False,
) -> int:
    """Classifies or segments new data with a run's network, and writes what it says.

    Classes go into a CSV with the columns ``input``, ``class``, and ``p:<class>`` with the
    probability of each class; what else a task predicts, its loader writes (masks of volumes, tags
    of words).

    Args:
        run: The run directory.
        source: New data of the same kind, e.g. a folder of images.
        out: What is written; see :func:`usual_place`.
        space: The space or model, where the run was made with one that is not registered.
        quiet: Show no progress.

    Returns:
        Number of predictions.

    Raises:
        UsageError: No network, or data that cannot be read.
    """
    description = load_description(run)
    out = Path(out)
    preprocess = description["preprocess"]
    loader = _loader(run, preprocess)
    own = getattr(loader, "predict", None)
    if own is not None:
        count: int = own(load(run, space=space), source, preprocess, out, Reporter(quiet))
        return count
    check_place(out)
    network = load(run, space=space)
    names, split = loader.inputs(source, preprocess)
    # A file's name may be no UTF-8, which the table is.
    names = [os.fsencode(name).decode("utf-8", "replace") for name in names]
    classes = description["classes"] or [str(i) for i in range(description["outputs"])]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["input", "class", *(f"p:{name}" for name in classes)])
    with Reporter(quiet).bar("predict", len(split), "inputs") as advance, torch.inference_mode():
        for start in range(0, len(split), BATCH):
            indices = list(range(start, min(start + BATCH, len(split))))
            x, _ = gather(split, indices)
            shares = torch.softmax(network(x), dim=1)
            for i, row in zip(indices, shares.tolist(), strict=True):
                best = max(range(len(row)), key=row.__getitem__)
                writer.writerow([names[i], classes[best], *(f"{p:.6f}" for p in row)])
            advance(indices[-1] + 1)
    write_text(out, text.getvalue())
    return len(names)


def usual_place(run: str | Path) -> Path:
    """Where predictions of a run go if nothing else is said, in the working directory.

    Raises:
        UsageError: No network, or one of a task that was made in Python.
    """
    loader = _loader(run, load_description(run)["preprocess"])
    return Path(getattr(loader, "predictions", "predictions.csv"))


def _loader(run: str | Path, preprocess: Mapping[str, Any]) -> TaskLoader:
    if "loader" not in preprocess:
        raise UsageError(
            f"The task of {str(run)!r} was made in Python: load the network by "
            "nas_domains.load and call it."
        )
    loader: TaskLoader = tasks.load(preprocess["loader"])
    return loader
