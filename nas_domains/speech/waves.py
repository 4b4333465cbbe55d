"""Encoders of samples: wav2vec 2.0 (Baevski et al. 2020, arXiv 2006.11477) and HuBERT (Hsu et al.
2021, arXiv 2106.07447), whose layers may differ in heads and width.

What stands before the layers (convolutions over samples, a projection, convolutional positions)
are the modules of transformers; the layers are :class:`nas_domains.nn.encoder.EncoderLayer`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..nn.encoder import EncoderSpec, LayerSize, plain_layers

FRONT = {
    "features": "feature_extractor",
    "projection": "feature_projection",
    "positions": "encoder.pos_conv_embed",
    "norm": "encoder.layer_norm",
}
"""Our module of what is no layer -> theirs."""


class WaveEncoder(nn.Module):
    """Samples to states.

    The convolutions over samples are not trained, as is usual where an encoder is fine-tuned.

    Args:
        spec: Form of the layers.
        config: Their configuration.
        sizes: Of the layers.
    """

    def __init__(
        self, spec: EncoderSpec, config: Mapping[str, Any], sizes: Sequence[LayerSize]
    ) -> None:
        super().__init__()
        self.spec = spec
        theirs = bare_model(config)
        self.features = theirs.feature_extractor
        self.projection = theirs.feature_projection
        self.positions = theirs.encoder.pos_conv_embed
        self.norm = nn.LayerNorm(spec.hidden, eps=spec.eps)
        self.dropout = nn.Dropout(spec.dropout)
        self.layers = nn.ModuleList(plain_layers(spec, sizes))
        # Models whose first norm is over time were pretrained without knowing of padding.
        self.masked = config["feat_extract_norm"] == "layer"
        self.steps = list(zip(config["conv_kernel"], config["conv_stride"], strict=True))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Samples [B, S], zeros behind each recording -> states [B, T, D] and which count [B, T].

        Raises:
            RuntimeError: Fewer samples than one frame has.
        """
        with torch.no_grad():
            features = self.features(x).transpose(1, 2)
        keep = self._kept(x, features.shape[1])
        found = self.projection(features)
        states: Tensor = found[0] if isinstance(found, tuple) else found
        if self.masked:
            states = states.masked_fill(~keep[..., None], 0)
        states = states + self.positions(states)
        if not self.spec.norm_first:
            states = self.norm(states)
        states = self.dropout(states)
        for layer in self.layers:
            states = layer(states, keep)
        return (self.norm(states) if self.spec.norm_first else states), keep

    def _kept(self, x: Tensor, frames: int) -> Tensor:
        if not self.masked:
            return torch.ones((x.shape[0], frames), dtype=torch.bool, device=x.device)
        at = torch.arange(1, x.shape[1] + 1, device=x.device)
        lengths = torch.where(x != 0, at, 0).amax(1)
        for kernel, stride in self.steps:
            lengths = torch.div(lengths - kernel, stride, rounding_mode="floor") + 1
        # One at least, for a recording of silence.
        return torch.arange(frames, device=x.device) < lengths.clamp_min(1)[:, None]


class WaveHead(nn.Module):
    """A projection of the states, their mean over time, and a linear layer.

    Args:
        hidden: Features of a state.
        inner: Features of the projection.
        outputs: Size of the output.
    """

    def __init__(self, hidden: int, inner: int, outputs: int) -> None:
        super().__init__()
        self.projector = nn.Linear(hidden, inner)
        self.classifier = nn.Linear(inner, outputs)

    def forward(self, states: Tensor, keep: Tensor) -> Tensor:
        """States [B, T, D] and which count [B, T] -> [B, outputs]."""
        weight = keep[..., None].to(states.dtype)
        mean = (self.projector(states) * weight).sum(1) / weight.sum(1)
        scores: Tensor = self.classifier(mean)
        return scores


def bare_model(config: Mapping[str, Any]) -> Any:
    """Their model without layers, with weights from torch's global generator."""
    from transformers import AutoConfig, AutoModel

    rest = {k: v for k, v in config.items() if k not in ("model_type", "architectures")}
    made = AutoConfig.for_model(config["model_type"], **(rest | {"num_hidden_layers": 0}))
    return AutoModel.from_config(made)
