"""Encoders of transformers that are known here: their configurations and names of weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.errors import UsageError
from ..nn.encoder import EncoderSpec
from ..nn.encoder_check import check_spec

_BERT = {
    "encoder.embeddings.words": "embeddings.word_embeddings",
    "encoder.embeddings.positions": "embeddings.position_embeddings",
    "encoder.embeddings.types": "embeddings.token_type_embeddings",
    "encoder.embeddings.norm": "embeddings.LayerNorm",
}
_BERT_LAYER = {
    "attention.query": "attention.self.query",
    "attention.key": "attention.self.key",
    "attention.value": "attention.self.value",
    "attention.out": "attention.output.dense",
    "attention.norm": "attention.output.LayerNorm",
    "feed_forward.inner": "intermediate.dense",
    "feed_forward.outer": "output.dense",
    "feed_forward.norm": "output.LayerNorm",
}
_DISTILBERT_LAYER = {
    "attention.query": "attention.q_lin",
    "attention.key": "attention.k_lin",
    "attention.value": "attention.v_lin",
    "attention.out": "attention.out_lin",
    "attention.norm": "sa_layer_norm",
    "feed_forward.inner": "ffn.lin1",
    "feed_forward.outer": "ffn.lin2",
    "feed_forward.norm": "output_layer_norm",
}


KINDS = {"text": "ForSequenceClassification", "token": "ForTokenClassification"}
"""What has a class each -> what the names of their classes end with."""


@dataclass(frozen=True)
class Family:
    """How one kind of encoder is written by transformers.

    Attributes:
        prefix: What the names of the encoder's weights begin with beside a classifier.
        layers: What the names of a layer's weights begin with, before its number.
        embeddings: Our module -> theirs.
        layer: Our module within a layer -> theirs.
        head: Our module of the classifier of texts -> theirs; without the prefix.
        pooler: Modules of the classifier that belong to the encoder there.
        stem: What the names of their classes begin with.
        spec: Their configuration -> ours, save for the special tokens.
        config: (our spec, layers, width) -> fields of their configuration.
    """

    prefix: str
    layers: str
    embeddings: Mapping[str, str]
    layer: Mapping[str, str]
    head: Mapping[str, str]
    pooler: tuple[str, ...]
    stem: str
    spec: Callable[[Mapping[str, Any]], dict[str, Any]]
    config: Callable[[EncoderSpec, int, int], dict[str, Any]]

    def classifier(self, each: str) -> str:
        """Name of their class with a classifier; ``each`` is a key of :data:`KINDS`."""
        return self.stem + KINDS[each]

    def names(self, layers: int, each: str) -> dict[str, str]:
        """Our module -> theirs, for a network with a classifier; ``each`` is of :data:`KINDS`."""
        found = {ours: self.prefix + theirs for ours, theirs in self.embeddings.items()}
        for i in range(layers):
            for ours, theirs in self.layer.items():
                found[f"encoder.layers.{i}.{ours}"] = f"{self.prefix}{self.layers}.{i}.{theirs}"
        # One that looks at all tokens is written alike by all of them.
        head = self.head if each == "text" else {"head.classifier": "classifier"}
        for ours, theirs in head.items():
            found[ours] = (self.prefix if ours in self.pooler else "") + theirs
        return found


def _bert_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "hidden": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "width": config["intermediate_size"],
        "layers": config["num_hidden_layers"],
        "vocabulary": config["vocab_size"],
        "positions": config["max_position_embeddings"],
        "types": config.get("type_vocab_size", 2),
        "eps": config.get("layer_norm_eps", 1e-12),
        "activation": config.get("hidden_act", "gelu"),
        "dropout": config.get("hidden_dropout_prob", 0.1),
        "attention_dropout": config.get("attention_probs_dropout_prob", 0.1),
        "std": config.get("initializer_range", 0.02),
    }


def _bert_config(spec: EncoderSpec, layers: int, width: int) -> dict[str, Any]:
    return {
        "hidden_size": spec.hidden,
        "num_attention_heads": spec.heads,
        "intermediate_size": width,
        "num_hidden_layers": layers,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "type_vocab_size": spec.types,
        "layer_norm_eps": spec.eps,
        "hidden_act": spec.activation,
        "hidden_dropout_prob": spec.dropout,
        "attention_probs_dropout_prob": spec.attention_dropout,
        "initializer_range": spec.std,
        "pad_token_id": spec.pad,
    }


def _roberta_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    return _bert_spec(config) | {"first_position": config.get("pad_token_id", 1) + 1}


def _distilbert_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    if config.get("sinusoidal_pos_embds"):
        raise UsageError("DistilBERT with sinusoidal positions is not known: use another.")
    return {
        "hidden": config["dim"],
        "heads": config["n_heads"],
        "width": config["hidden_dim"],
        "layers": config["n_layers"],
        "vocabulary": config["vocab_size"],
        "positions": config["max_position_embeddings"],
        "types": 0,
        "activation": config.get("activation", "gelu"),
        "head_activation": "relu",
        "dropout": config.get("dropout", 0.1),
        "attention_dropout": config.get("attention_dropout", 0.1),
        "std": config.get("initializer_range", 0.02),
    }


def _distilbert_config(spec: EncoderSpec, layers: int, width: int) -> dict[str, Any]:
    return {
        "dim": spec.hidden,
        "n_heads": spec.heads,
        "hidden_dim": width,
        "n_layers": layers,
        "vocab_size": spec.vocabulary,
        "max_position_embeddings": spec.positions,
        "activation": spec.activation,
        "dropout": spec.dropout,
        "attention_dropout": spec.attention_dropout,
        "initializer_range": spec.std,
        "pad_token_id": spec.pad,
    }


def _like_roberta(stem: str) -> Family:
    return Family(
        "roberta.",
        "encoder.layer",
        _BERT,
        _BERT_LAYER,
        {"head.dense": "classifier.dense", "head.classifier": "classifier.out_proj"},
        (),
        stem,
        _roberta_spec,
        _bert_config,
    )


FAMILIES = {
    "bert": Family(
        "bert.",
        "encoder.layer",
        _BERT,
        _BERT_LAYER,
        {"head.dense": "pooler.dense", "head.classifier": "classifier"},
        ("head.dense",),
        "Bert",
        _bert_spec,
        _bert_config,
    ),
    "distilbert": Family(
        "distilbert.",
        "transformer.layer",
        {ours: theirs for ours, theirs in _BERT.items() if not ours.endswith("types")},
        _DISTILBERT_LAYER,
        {"head.dense": "pre_classifier", "head.classifier": "classifier"},
        (),
        "DistilBert",
        _distilbert_spec,
        _distilbert_config,
    ),
    "roberta": _like_roberta("Roberta"),
    "xlm-roberta": _like_roberta("XLMRoberta"),
}
"""``model_type`` -> how it is written."""


def family_of(place: str, config: Mapping[str, Any]) -> str:
    """The family of a configuration.

    Raises:
        UsageError: One that is not known here.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise UsageError(
            f"{place!r} is a {family!r} model: known are {', '.join(FAMILIES)}, name one of these."
        )
    return str(family)


def read_spec(place: str, config: Mapping[str, Any], special: Mapping[str, Any]) -> EncoderSpec:
    """The spec of a configuration.

    Args:
        place: What it is called in errors.
        config: Content of ``config.json``.
        special: The tokens ``pad``, ``cls`` and ``sep``.

    Raises:
        UsageError: A family or a setting that is not known here.
    """
    family = family_of(place, config)
    try:
        values = FAMILIES[family].spec(config)
        spec = EncoderSpec(**values, **special, family=family)
        check_spec(place, spec)
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"The config.json of {place!r} is damaged ({error}): restore it from a copy."
        ) from None
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UsageError(
            f"{place!r} has relative positions, which are not known here: use another checkpoint."
        )
    return spec
