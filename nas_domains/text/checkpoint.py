"""A pretrained encoder in a local folder of transformers: its form, weights and tokenizer."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..core.errors import UsageError
from ..nn.encoder import EncoderSpec, LayerSize, made_up
from ..nn.text_classifier import TextClassifier, classifier_of
from .families import FAMILIES, KINDS, family_of, read_spec

VOCABULARIES = ("tokenizer.json", "vocab.txt", "vocab.json", "sentencepiece.bpe.model")
"""Files of which a tokenizer has at least one."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder that transformers wrote.

    Attributes:
        path: The folder.
        spec: The form of its encoder.
        holds: What its classifier gives a class, "text" or "token".
        each: What shall have one.
        classes: Names of its classes, in their order; empty where there are none.
    """

    path: str
    spec: EncoderSpec
    holds: str = "text"
    each: str = "text"
    classes: tuple[str, ...] = ()

    def state(self) -> dict[str, Tensor]:
        """The weights under our names; those of the classifier where they are there.

        Raises:
            UsageError: The weights are missing or damaged.
        """
        file = os.path.join(self.path, "model.safetensors")
        try:
            theirs = load_file(file)
        except (OSError, SafetensorError):
            raise UsageError(
                f"{self.path!r} holds no model.safetensors that can be read: save the model "
                "there by save_pretrained."
            ) from None
        # Names that old versions of transformers gave.
        theirs = {
            name.replace("LayerNorm.gamma", "LayerNorm.weight").replace(
                "LayerNorm.beta", "LayerNorm.bias"
            ): weight
            for name, weight in theirs.items()
        }
        family = FAMILIES[self.spec.family]
        found: dict[str, Tensor] = {}
        names = family.names(self.spec.layers, self.each)
        if self.holds != self.each:
            del names["head.classifier"]
        for ours, name in names.items():
            for kind in ("weight", "bias"):
                bare = f"{name.removeprefix(family.prefix)}.{kind}"
                weight = theirs.get(f"{name}.{kind}", theirs.get(bare))
                if weight is not None:
                    found[f"{ours}.{kind}"] = weight.float()
        return found

    def network(self, sizes: Sequence[LayerSize], outputs: int) -> TextClassifier:
        """A plain network of these sizes, with weights from torch's global generator."""
        return classifier_of(self.spec, sizes, outputs, self.each)

    def example(self, input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
        """A text of the middle length [1, T], and T."""
        length = input_shape[len(input_shape) // 2]
        return made_up(self.spec, [length]), length

    def check(self, space: str, input_shape: tuple[int, ...]) -> None:
        """Whether it reads texts of these lengths.

        Raises:
            UsageError: They are too long, or no texts.
        """
        longest = self.spec.longest
        if not input_shape or not all(2 <= n <= longest for n in input_shape):
            raise UsageError(
                f"The space {space!r} takes texts of 2 to {longest} tokens, not inputs of "
                f"shape {tuple(input_shape)}: give it a task of texts."
            )

    def fill(self, network: TextClassifier) -> None:
        """Loads the weights into a plain network of the full size.

        A classifier of another number of outputs keeps its own weights.

        Raises:
            UsageError: A weight of the encoder is missing or has another shape.
        """
        state, own = self.state(), network.state_dict()
        for name, value in own.items():
            weight = state.get(name)
            fits = weight is not None and weight.shape == value.shape
            if not fits and name.startswith("encoder."):
                raise UsageError(
                    f"The weights in {self.path!r} do not fit its config.json (no {name} of shape "
                    f"{tuple(value.shape)}): restore them from a copy."
                )
            if not fits:
                state.pop(name, None)
        network.load_state_dict(own | state)


def open_checkpoint(path: object, each: str = "text") -> Checkpoint:
    """Reads the form of a checkpoint.

    Args:
        path: A folder with config.json, model.safetensors and the files of a tokenizer.
        each: What shall have a class each, "text" or "token".

    Raises:
        UsageError: No such folder, or an encoder that is not known here.
    """
    place = os.path.abspath(str(path))
    file = Path(place) / "config.json"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(
            f"{str(path)!r} holds no config.json: give the folder of a checkpoint that "
            "transformers wrote."
        ) from None
    except (OSError, ValueError):
        config = None
    if not isinstance(config, dict):
        raise UsageError(f"{str(file)!r} is damaged: restore it from a copy.")
    family_of(str(path), config)
    tokenizer = load_tokenizer(place)
    special = {name: getattr(tokenizer, f"{name}_token_id") for name in ("pad", "cls", "sep")}
    missing = [name for name, token in special.items() if token is None]
    if missing:
        raise UsageError(
            f"The tokenizer in {str(path)!r} has no {missing[0]} token: use another checkpoint."
        )
    saved = str(config.get("architectures") or "")
    holds = next((kind for kind, ending in KINDS.items() if ending in saved), "text")
    spec = read_spec(str(path), config, special)
    return Checkpoint(place, spec, holds, each, _classes(config.get("id2label")))


def _classes(given: object) -> tuple[str, ...]:
    """The names in ``id2label``, in the order of their numbers; empty of anything else."""
    if not isinstance(given, dict):
        return ()
    numbers = [str(i) for i in range(len(given))]
    return tuple(str(given[i]) for i in numbers) if set(given) == set(numbers) else ()


@cache
def load_tokenizer(path: str) -> Any:
    """The tokenizer of a checkpoint.

    Raises:
        UsageError: There is none that can be read.
    """
    # Without any, transformers makes one that knows no words.
    if not any(os.path.isfile(os.path.join(path, name)) for name in VOCABULARIES):
        raise UsageError(
            f"{path!r} holds no files of a tokenizer: save it there by save_pretrained."
        )
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
    except Exception as error:  # it raises many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise UsageError(
            f"{path!r} holds no tokenizer that can be read ({reason}): save it there by "
            "save_pretrained."
        ) from None
    return tokenizer
