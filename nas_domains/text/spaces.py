"""The space ``transformer``: the heads and widths that a task needs of a pretrained encoder."""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..core.architecture import Architecture, Option
from ..core.errors import UsageError
from ..core.history import PREPARE, Record
from ..core.limit import CostTable
from ..core.pretrained import PretrainedSpace
from ..core.seeds import derive
from ..core.space import Choice
from ..evaluation import checkpoint as files
from ..evaluation.context import Context
from ..evaluation.score import evaluate
from ..evaluation.stream import Stream
from ..evaluation.train import fresh, train
from ..hardware.cost import count_params, macs_of
from ..nn.elastic.attention import elastic_sizes, make_elastic
from ..nn.elastic.importance import put_in_order, taylor_scores
from ..nn.elastic.network import ElasticNetwork, Sizes
from ..nn.encoder import (
    AttentionBlock,
    FeedForwardBlock,
    LayerSize,
    TextClassifier,
    classifier_of,
)
from .checkpoint import Checkpoint, open_checkpoint

FULL = f"{PREPARE}full"
"""Stage of the records of the whole network's fine-tuning."""

ORDER = f"{PREPARE}order"
"""Stage of the record of which heads matter, with the whole network's validation metrics."""

PREPARED = "prepared.safetensors"
CALIBRATION = (64, 8)
"""Batches on which heads and units are judged, and samples in each; signs cancel in large ones."""


class Transformer(PretrainedSpace):
    """Parts of a pretrained encoder: heads and feed-forward width of each layer.

    ``layer1.heads`` and ``layer1.width`` are of the layer nearest to the input; 0 leaves the block
    out, and a layer without both is gone. Options ascend. Which heads and units a smaller number
    keeps is decided when a run prepares: those whose loss would be missed most.
    See :func:`transformer` for the arguments.
    """

    has_supernet = True

    def __init__(self, checkpoint: Checkpoint, config: Mapping[str, Any]) -> None:
        self.checkpoint, spec = checkpoint, checkpoint.spec
        self.heads = _counts("heads", config["heads"], spec.heads)
        self.widths = _counts("widths", config["widths"], spec.width)
        choices = []
        for i in range(1, 1 + spec.layers):
            choices.append(Choice(f"layer{i}.heads", self.heads))
            choices.append(Choice(f"layer{i}.width", self.widths))
        super().__init__("transformer", choices, config)
        self._body: TextClassifier | None = None
        self._whole: TextClassifier | None = None

    @property
    def task_options(self) -> dict[str, Any]:
        """The checkpoint, whose tokenizer makes the inputs; see the base."""
        return {"checkpoint": self.checkpoint.path}

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; tokens of another tokenizer mean nothing here."""
        if preprocess.get("checkpoint", self.checkpoint.path) != self.checkpoint.path or (
            preprocess.get("vocabulary")
        ):
            raise UsageError(
                f"The texts are not tokens of {self.checkpoint.path!r}: load the task with the "
                "option checkpoint of the space."
            )

    def sizes(self, architecture: Mapping[str, Option]) -> list[LayerSize]:
        """The size of each layer of an architecture."""
        return [
            LayerSize(int(architecture[f"layer{i}.heads"]), int(architecture[f"layer{i}.width"]))
            for i in range(1, 1 + self.checkpoint.spec.layers)
        ]

    def largest(self) -> Architecture:
        """The whole encoder."""
        return self.complete({c.name: c.options[-1] for c in self.choices}, None)

    def smallest(self) -> Architecture:
        """The least of each layer that is not nothing, so that a supernet trains all layers."""
        least = {"heads": next(filter(None, self.heads)), "width": next(filter(None, self.widths))}
        return self.complete({c.name: least[c.name.partition(".")[2]] for c in self.choices}, None)

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> TextClassifier:
        """The plain network of an architecture, with the weights that the whole one has there.

        Before a run has prepared, those of the checkpoint, with a classifier from torch's global
        generator. The whole network always has those that it was fine-tuned to: the paths that a
        supernet trains under a limit change its weights and never run it. See
        :meth:`SearchSpace.build`.
        """
        self._check_input(input_shape)
        body = self._elastic(outputs)
        if self._whole is not None and architecture == self.largest():
            body = self._whole
        network = ElasticNetwork(body, self.elastic_sizes).extract(self.architecture(architecture))
        assert isinstance(network, TextClassifier)
        return network.train()

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> ElasticNetwork:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        self._check_input(input_shape)
        return ElasticNetwork(copy.deepcopy(self._elastic(outputs)), self.elastic_sizes)

    def elastic_sizes(self, architecture: Architecture) -> Sizes:
        """What the layers of the supernet are set to for an architecture."""
        return elastic_sizes(self.sizes(architecture))

    def _elastic(self, outputs: int) -> TextClassifier:
        """The elastic network that all others are parts of, not to be changed."""
        if self._body is not None and self._body.head.classifier.out_features == outputs:
            return self._body
        return make_elastic(self.whole(outputs))

    def whole(self, outputs: int) -> TextClassifier:
        """The plain network of all layers with the checkpoint's weights."""
        spec = self.checkpoint.spec
        network = classifier_of(spec, [LayerSize(spec.heads, spec.width)] * spec.layers, outputs)
        self.checkpoint.fill(network)
        return network

    def prepare(self, context: Any) -> None:
        """Fine-tunes the whole network, and puts its heads and units in order; see the base.

        The networks that are trained later learn from it where ``distil`` is set.
        """
        _prepare(self, context)

    def adopt(self, supernet: nn.Module) -> None:
        """See the base."""
        assert isinstance(supernet, ElasticNetwork)
        supernet.set_architecture(None)
        body = cast(TextClassifier, copy.deepcopy(supernet.body))
        self._body = body.cpu()

    def hold(self, network: TextClassifier) -> None:
        """Builds from a plain network of the full size from now on, whose parts are in order."""
        self._body = self._whole = make_elastic(network)

    def references(
        self, winner: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> dict[str, Architecture]:
        """The whole network, and one of equal layers as large as the winner within 2 %, or nearly.

        Of several of that size it is the one that keeps the most even shares of heads and width.
        """
        table = self.cost_tables(input_shape, outputs)["params"]
        size, spec = table.cost(winner), self.checkpoint.spec

        def unlike(pair: tuple[int, int]) -> tuple[float, float]:
            difference = abs(table.cost(self._uniform(*pair)) - size) / size
            return difference // 0.02, abs(pair[0] / spec.heads - pair[1] / spec.width)

        uniform = min(((h, w) for h in self.heads for w in self.widths), key=unlike)
        return {"full": self.largest(), "uniform": self._uniform(*uniform)}

    def _uniform(self, heads: int, width: int) -> Architecture:
        return self.complete(
            {c.name: heads if c.name.endswith(".heads") else width for c in self.choices}, None
        )

    def cost_tables(self, input_shape: tuple[int, ...], outputs: int) -> dict[str, CostTable]:
        """The exact tables of params and macs; see :meth:`SearchSpace.cost_tables`."""
        self._check_input(input_shape)
        spec = self.checkpoint.spec
        # Networks are made to be counted: what is drawn later must not depend on it.
        with torch.random.fork_rng(devices=[]):
            empty = classifier_of(spec, [LayerSize(0, 0)] * spec.layers, outputs)
            ids = empty.example([input_shape[len(input_shape) // 2]])
            base = {"params": count_params(empty), "macs": macs_of(empty, ids)}
            x = torch.zeros((1, ids.shape[1], spec.hidden))
            blocks: dict[str, dict[Option, nn.Module]] = {
                "heads": {n: AttentionBlock(spec, n) for n in self.heads if n},
                "width": {n: FeedForwardBlock(spec, n) for n in self.widths if n},
            }
            kept = torch.ones(ids.shape, dtype=torch.bool)
            added = {
                "params": {
                    k: {n: count_params(b) for n, b in of.items()} for k, of in blocks.items()
                },
                "macs": {
                    k: {n: macs_of(_Kept(b, kept), x) for n, b in of.items()}
                    for k, of in blocks.items()
                },
            }
        return {
            metric: CostTable(
                base[metric],
                {
                    c.name: {o: columns[c.name.partition(".")[2]].get(o, 0) for o in c.options}
                    for c in self.choices
                },
            )
            for metric, columns in added.items()
        }

    def _check_input(self, input_shape: tuple[int, ...]) -> None:
        longest = self.checkpoint.spec.longest
        if not input_shape or not all(2 <= n <= longest for n in input_shape):
            raise UsageError(
                f"The space {self.name!r} takes texts of 2 to {longest} tokens, not inputs of "
                f"shape {tuple(input_shape)}: give it a task of texts."
            )


class _Kept(nn.Module):
    """A block whose mask is fixed."""

    def __init__(self, block: nn.Module, keep: Tensor) -> None:
        super().__init__()
        self.block, self.keep = block, keep

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x, self.keep)
        return out


def _prepare(space: Transformer, context: Context) -> None:
    task, path = context.task, context.checkpoints / PREPARED
    if not path.exists():
        fresh(context, FULL)
        network = space.whole(task.outputs).to(context.device)
        if space.config["tune"]:
            network = cast(
                TextClassifier,
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


Numbers = str | float | Sequence[float]
"""One number, several, or a text of several such as "0.5-1"."""


def transformer(
    checkpoint: str = "",
    heads: Numbers = "0-0.25-0.5-0.75-1",
    widths: Numbers = "0-0.25-0.5-0.75-1",
    tune: int = 1,
    distil: bool = True,
) -> Transformer:
    """The space of parts of a pretrained encoder of the BERT, RoBERTa or DistilBERT kind.

    Several numbers are written with hyphens, e.g. ``transformer:checkpoint=minilm,heads=0.5-1``.

    Args:
        checkpoint: Folder that ``save_pretrained`` of transformers wrote, with its tokenizer.
        heads: Shares of a layer's heads that may be kept, 0 to 1.
        widths: Shares of a layer's feed-forward width.
        tune: Epochs for which the whole network is fine-tuned before the search; 0 for a
            checkpoint that has learnt the task.
        distil: Whether networks learn from the whole one beside the labels.

    Raises:
        UsageError: No checkpoint, one that is not known here, or a share that is none.
    """
    if not checkpoint:
        raise UsageError(
            "The space 'transformer' needs a checkpoint: write transformer:checkpoint=FOLDER."
        )
    if isinstance(tune, bool) or not isinstance(tune, int) or tune < 0:
        raise UsageError(f"tune={tune!r} of the space 'transformer' must be a whole number >= 0.")
    if not isinstance(distil, bool):
        raise UsageError(f"distil={distil!r} of the space 'transformer' must be true or false.")
    found = open_checkpoint(checkpoint)
    config = {
        "checkpoint": found.path,
        "heads": _shares("heads", heads),
        "widths": _shares("widths", widths),
        "tune": tune,
        "distil": distil,
    }
    return Transformer(found, config)


def _shares(name: str, given: Numbers) -> list[float]:
    parts: Sequence[Any] = [given] if isinstance(given, int | float) else given
    if isinstance(given, str):
        parts = given.split("-")
    shares = []
    for part in parts:
        try:
            share = float(part)
        except (TypeError, ValueError):
            share = math.nan
        if not 0 <= share <= 1 or isinstance(part, bool):
            raise UsageError(
                f"{name}={given!r} of the space 'transformer' must be shares from 0 to 1, such as "
                "0.5 or 0-0.5-1."
            )
        shares.append(share)
    if not shares or len(set(shares)) < len(shares) or not max(shares):
        raise UsageError(
            f"{name}={given!r} of the space 'transformer' must name shares, none twice and not 0 "
            "alone."
        )
    return sorted(shares)


def _counts(name: str, shares: Sequence[float], whole: int) -> tuple[int, ...]:
    counts = tuple(round(share * whole) for share in shares)
    if len(set(counts)) < len(counts):
        raise UsageError(
            f"{name} of the space 'transformer' names one number of {whole} twice: name fewer "
            "shares."
        )
    return counts
