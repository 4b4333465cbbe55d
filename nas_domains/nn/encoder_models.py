"""What our models of transformers have in common, whatever their encoders read."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, TypeVar

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from ..core.hand_back import labels_of
from .elastic.attention import sizes_of
from .encoder import EncoderClassifier, EncoderSpec, LayerSize, draw_weights

__all__ = ["EncoderConfig", "EncoderModel", "EncoderPreTrained", "filled", "form_of"]

M = TypeVar("M", bound=PreTrainedModel)


class EncoderConfig(PreTrainedConfig):  # type: ignore[misc]
    """Form and sizes of an encoder; a subclass says in ``encoder`` how it is made.

    Args:
        spec: Fields of :class:`nas_domains.nn.encoder.EncoderSpec`.
        layer_heads: Heads of each layer; 0 where it has no attention.
        layer_widths: Features inside each feed-forward block; 0 where there is none.
        **kwargs: Those of every configuration of transformers.
    """

    tiny = EncoderSpec(hidden=1, heads=1, width=1, layers=0, vocabulary=1, positions=1)
    """Of a configuration without arguments, which transformers makes to compare with."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # transformers makes a constructor for a class that has none of its own.
        if "__init__" not in vars(cls):
            setattr(cls, "__init__", EncoderConfig.__init__)  # noqa: B010 - for mypy
        super().__init_subclass__(**kwargs)

    def __init__(
        self,
        spec: dict[str, Any] | None = None,
        layer_heads: Sequence[int] = (),
        layer_widths: Sequence[int] = (),
        **kwargs: Any,
    ) -> None:
        self.spec = dict(spec or asdict(self.tiny))
        self.layer_heads, self.layer_widths = list(layer_heads), list(layer_widths)
        super().__init__(**kwargs)

    @property
    def encoder_spec(self) -> EncoderSpec:
        """The form."""
        return EncoderSpec(**self.spec)

    @property
    def sizes(self) -> list[LayerSize]:
        """The size of each layer."""
        pairs = zip(self.layer_heads, self.layer_widths, strict=True)
        return [LayerSize(heads, width) for heads, width in pairs]

    @property
    def hidden_size(self) -> int:
        """Features between the blocks, by the name that other code asks for."""
        return int(self.spec["hidden"])

    @abstractmethod
    def encoder(self) -> nn.Module:
        """A plain encoder of this form, with fresh weights."""


class EncoderPreTrained(PreTrainedModel):  # type: ignore[misc]
    """Names and fresh weights of all models of an encoder."""

    base_model_prefix = "model"

    def _init_weights(self, module: nn.Module) -> None:
        draw_weights(module, self.config.spec["std"])


class EncoderModel(EncoderPreTrained):
    """An encoder without a classifier; a subclass has ``forward``."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__(config)
        self.encoder = config.encoder()
        self.post_init()


def form_of(network: EncoderClassifier, classes: Sequence[str]) -> dict[str, Any]:
    """The arguments of the configuration of a network that all kinds of encoders have.

    Args:
        network: The network.
        classes: Names of the classes.
    """
    encoder: Any = network.encoder
    head: Any = network.head
    sizes = sizes_of(encoder.layers)
    return {
        "spec": asdict(encoder.spec),
        "layer_heads": [size.heads for size in sizes],
        "layer_widths": [size.width for size in sizes],
        **labels_of(classes, head.classifier.out_features),
    }


@torch.no_grad()
def filled(made: M, network: EncoderClassifier, **others: torch.Tensor) -> M:
    """A model with a copy of a network's weights, to be used as it is.

    Args:
        made: With ``model.encoder`` and ``head`` like the network's.
        network: The network.
        **others: Tensors that stand in place of the encoder's.
    """
    made.model.encoder.load_state_dict(network.encoder.state_dict() | others)
    made.head.load_state_dict(network.head.state_dict())
    made.eval()
    return made
