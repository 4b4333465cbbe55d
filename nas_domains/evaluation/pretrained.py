"""Fitting a pretrained encoder to a task, and finding out which of its parts matter."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, cast

from torch import Tensor

from ..core.history import PREPARE, Record
from ..core.seeds import derive
from ..nn.elastic.hidden import hidden_scores, put_hidden_in_order
from ..nn.elastic.importance import put_in_order, taylor_scores
from ..nn.encoder import EncoderClassifier
from ..nn.text_classifier import TextClassifier
from . import checkpoint as files
from .context import Context
from .score import evaluate
from .stream import Stream
from .train import fresh, train

if TYPE_CHECKING:
    from .encoder_space import EncoderSpace

FULL = f"{PREPARE}full"
"""Stage of the records of the whole network's fine-tuning."""

ORDER = f"{PREPARE}order"
"""Stage of the record of which heads matter, with the whole network's validation metrics."""

PREPARED = "prepared.safetensors"
CALIBRATION = (64, 8)
"""Batches on which heads and units are judged, and samples in each; signs cancel in large ones."""


def prepare_encoder(space: EncoderSpace, context: Context) -> None:
    """Fine-tunes the whole encoder of a space, and puts its heads and units in order.

    What it made is read where a run resumes. Networks that are trained later learn from it where
    the space's ``distil`` is set.

    Args:
        space: The space; see :meth:`PretrainedSpace.prepare`.
        context: Of the run.
    """
    task, path = context.task, context.checkpoints / PREPARED
    if not path.exists():
        fresh(context, FULL)
        network = space.whole(task.outputs).to(context.device)
        if space.config["tune"]:
            network = cast(
                EncoderClassifier,
                train(
                    network,
                    context,
                    stage=FULL,
                    epochs=space.config["tune"],
                    architecture=dict(space.largest()),
                    order=FULL,
                )[0],
            )
        began = time.perf_counter()
        scores = taylor_scores(network, _calibration(context), task.loss)
        put_in_order(network, scores)
        if space.narrows:
            assert isinstance(network, TextClassifier)
            slopes = hidden_scores(network, _calibration(context), task.loss)
            put_hidden_in_order(network, slopes)
        metrics = evaluate(network, task.val, context)
        heads = {
            f"layer{i}": sorted(scores[f"encoder.layers.{i - 1}.attention"].tolist(), reverse=True)
            for i in range(1, 1 + space.checkpoint.spec.layers)
        }
        spent, whole = time.perf_counter() - began, dict(space.largest())
        context.history.add(
            Record(ORDER, 0, whole, {}, metrics, spent, detail={"importance": heads})
        )
        files.save(path, network.state_dict())
        (context.checkpoints / f"{FULL}.safetensors").unlink(missing_ok=True)
    network = space.whole(task.outputs)
    network.load_state_dict(files.load(path))
    if space.config["distil"]:
        teacher = copy.deepcopy(network).to(context.device).eval()
        context.teacher = teacher.requires_grad_(False)
    space.hold(network)


def _calibration(context: Context) -> Iterator[tuple[Tensor, Tensor]]:
    number, size = CALIBRATION
    stream = Stream(context.task.train, size, derive(context.seed, PREPARE, "calibration"))
    for i in range(min(number, stream.steps_per_epoch)):
        yield context.to_device(*stream.batch(i))
