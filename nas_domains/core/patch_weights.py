"""Checkpoints of transformers whose encoders are cut into patches: their names of our weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .errors import UsageError
from .hand_back import quiet_transformers

LAYER = {
    "attention.query": "attention.q_proj",
    "attention.key": "attention.k_proj",
    "attention.value": "attention.v_proj",
    "attention.out": "attention.o_proj",
    "attention.norm": "layernorm_before",
    "feed_forward.inner": "mlp.fc1",
    "feed_forward.outer": "mlp.fc2",
    "feed_forward.norm": "layernorm_after",
}
"""Our module within a layer -> theirs."""

ENCODER = {
    "encoder.patches": "embeddings.patch_embeddings.projection",
    "encoder.norm": "layernorm",
}
"""Our module of what is no layer -> theirs."""

POSITIONS = "embeddings.position_embeddings"
TOKENS = "embeddings.cls_token", "embeddings.distillation_token"
"""Theirs in the order that ours has them in; of one token the first."""

MODULES, LAYERS = "encoder.", "encoder.layers."


class PatchNames:
    """Their names of the weights of one of our networks.

    Args:
        head: Our module of the head -> theirs.
        prefix: What the names of their encoder's weights begin with beside a classifier.
    """

    def __init__(self, head: Mapping[str, str], prefix: str) -> None:
        self.modules, self.prefix = ENCODER | dict(head), prefix

    def of(self, name: str) -> str:
        """Their name of one of our weights, without the prefix; empty for the tokens."""
        if name == "encoder.positions":
            return POSITIONS
        module, _, kind = name.rpartition(".")
        if module.startswith(LAYERS):
            number, _, rest = module.removeprefix(LAYERS).partition(".")
            return f"layers.{number}.{LAYER[rest]}.{kind}"
        return f"{self.modules[module]}.{kind}" if module in self.modules else ""

    def fill(
        self, network: nn.Module, path: str, theirs: Mapping[str, Tensor], named: bool
    ) -> None:
        """Loads weights into a plain network of the full size.

        A classifier of another number of outputs keeps its own weights.

        Args:
            network: Ours.
            path: What the weights are called in errors.
            theirs: Of :meth:`weights`.
            named: Whether their classifier's classes are those of the task, in its order.

        Raises:
            UsageError: A weight is missing or has another shape.
        """
        own = network.state_dict()
        found: dict[str, Tensor] = {}
        for name, value in own.items():
            weight = theirs.get(self.of(name))
            tokens = TOKENS[: value.shape[1]] if name == "encoder.tokens" else ()
            if tokens and all(token in theirs for token in tokens):
                weight = torch.cat([theirs[token] for token in tokens], 1)
            if name.startswith("head.classifier.") and not named:
                weight = None
            if weight is not None and weight.shape == value.shape:
                found[name] = weight.float()
            elif name.startswith(MODULES):
                raise UsageError(
                    f"The weights in {path!r} do not fit its config.json (no {name} of shape "
                    f"{tuple(value.shape)}): restore them from a copy."
                )
        network.load_state_dict(own | found)

    def weights(self, path: str, kind: Any) -> dict[str, Tensor]:
        """The weights of a checkpoint by the names that transformers has in memory, less prefixes.

        Its loader knows how older versions wrote them.

        Args:
            path: The folder.
            kind: Their class with a classifier.

        Raises:
            UsageError: The weights are missing or damaged.
        """
        if not (Path(path) / "model.safetensors").is_file():
            raise UsageError(
                f"{path!r} holds no model.safetensors that can be read: save the model there by "
                "save_pretrained."
            )
        try:
            with quiet_transformers(), torch.random.fork_rng(devices=[]):
                model, info = kind.from_pretrained(
                    path,
                    local_files_only=True,
                    output_loading_info=True,
                    ignore_mismatched_sizes=True,
                )
        except Exception as error:  # it raises many kinds
            reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(
                f"{path!r} holds no model.safetensors that can be read ({reason}): save the model "
                "there by save_pretrained."
            ) from None
        # What was not there, or had another shape, has fresh weights, which nobody wants.
        other = {key if isinstance(key, str) else key[0] for key in info["mismatched_keys"]}
        missing = {*info["missing_keys"], *other}
        state = model.state_dict().items()
        return {n.removeprefix(self.prefix): w for n, w in state if n not in missing}

    def theirs(
        self, network: nn.Module, kept: Sequence[int], positions: Tensor
    ) -> dict[str, Tensor]:
        """The state of a model of theirs with copies of the weights of one of ours.

        Args:
            network: Ours, plain.
            kept: Its layers that are not empty.
            positions: What the positions are to be.
        """
        found: dict[str, Tensor] = {}
        for name, weight in network.state_dict().items():
            ours = name
            if name == "encoder.tokens":
                for token, value in zip(TOKENS, weight.split(1, 1), strict=False):
                    found[self.prefix + token] = value.clone()
                continue
            if name.startswith(LAYERS):
                number, _, rest = name.removeprefix(LAYERS).partition(".")
                ours = f"{LAYERS}{kept.index(int(number))}.{rest}"
            prefix = self.prefix if name.startswith(MODULES) else ""
            found[prefix + self.of(ours)] = weight.clone()
        found[self.prefix + POSITIONS] = positions.detach().clone()
        return found
