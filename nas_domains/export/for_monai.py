"""The export formats that MONAI reads, each checked against our network before it counts."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.space import SearchSpace
from ..nn.dints.network import DintsNetwork
from ..nn.dints.space import DintsSpace
from ..nn.model_space import Model
from .bundle import write_bundle
from .load import space_and_architecture
from .monai import arch_code, full_state, monai_network, write_arch_code

__all__ = ["write_for_monai"]


def write_for_monai(
    format: str,
    network: nn.Module,
    description: Mapping[str, Any],
    space: SearchSpace | Model | None,
    path: Path,
    probe: Tensor,
    measure: Callable[[Tensor], None],
) -> None:
    """Writes a file or folder of a format of ``nas_domains.export.formats.FOR_MONAI``.

    Args:
        format: Its name.
        network: Trained.
        description: Of the network.
        space: Where it is not registered.
        path: What is written.
        probe: Inputs [B, C, ...].
        measure: Called with what MONAI makes of the probe, before anything is written.

    Raises:
        UsageError: MONAI is missing, the network is no segmentation, or the space is not "dints"
            where an architecture code is asked for.
    """
    if importlib.util.find_spec("monai") is None:
        raise UsageError(f"The format {format!r} needs monai: pip install monai.")
    with torch.no_grad():
        output = network(probe[:1])
    if output.shape[2:] != probe.shape[2:] or output.dim() < 4:
        raise UsageError(
            f"The format {format!r} is for segmentation, but the network gives "
            f"{tuple(output.shape[1:])} for an input: use --format onnx or torch."
        )

    def check(made: nn.Module) -> None:
        with torch.no_grad():
            measure(made.eval()(probe))

    found, architecture = space_and_architecture(description, space)
    code = None
    if isinstance(found, DintsSpace):
        assert isinstance(network, DintsNetwork)
        code = arch_code(found, network, architecture)
    if format == "monai-bundle":
        write_bundle(network, description, code, path, check)
        return
    if code is None:
        raise UsageError(
            f"The space {found.name!r} has no architecture code: use --format monai-bundle."
        )
    made = monai_network(code)
    made.load_state_dict(full_state(network.state_dict(), code))
    check(made)
    write_arch_code(code, path)
