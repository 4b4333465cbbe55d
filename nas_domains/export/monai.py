"""Handing a found network to MONAI: DiNTS's architecture code, and MONAI's own network of it."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.files import write_atomic, write_json
from ..nn.dints.network import DintsNetwork
from ..nn.dints.space import DintsSpace

__all__ = ["arch_code", "full_state", "monai_network", "write_arch_code"]


def arch_code(space: DintsSpace, network: DintsNetwork, architecture: Any) -> dict[str, Any]:
    """All that MONAI needs to build a found architecture, JSON-able.

    Args:
        space: Of the architecture.
        network: Its network.
        architecture: One of the space.

    Returns:
        What :meth:`DintsSpace.arch_code` gives, and the arguments of ``TopologyInstance`` as
        "topology" and of ``DiNTS`` as "network".
    """
    frame = network.frame
    return {
        **space.arch_code(architecture),
        "topology": {
            "channel_mul": frame.filters[0] / 32,
            "num_blocks": frame.blocks,
            "num_depths": frame.depths,
            "spatial_dims": frame.dims,
            "use_downsample": frame.down,
        },
        "network": {
            "in_channels": frame.c_in,
            "num_classes": frame.outputs,
            "spatial_dims": frame.dims,
            "use_downsample": frame.down,
        },
    }


def monai_network(code: Mapping[str, Any]) -> nn.Module:
    """MONAI's ``DiNTS`` of what :func:`arch_code` gives, with fresh weights.

    Raises:
        UsageError: MONAI is not installed.
    """
    try:
        from monai.networks.nets import DiNTS, TopologyInstance
    except ImportError:
        raise UsageError("This needs monai: pip install monai.") from None
    # It prints the sizes that it recommends.
    with contextlib.redirect_stdout(io.StringIO()):
        topology = TopologyInstance(
            arch_code=[np.array(code["arch_code_a"]), np.array(code["arch_code_c"])],
            **code["topology"],
        )
        made: nn.Module = DiNTS(topology, node_a=np.array(code["node_a"]), **code["network"])
    return made


def full_state(own: Mapping[str, Tensor], code: Mapping[str, Any]) -> dict[str, Tensor]:
    """Our network's state as MONAI's takes it; zeros in stems that nothing reads."""
    full = monai_network(code).state_dict()
    return {name: own.get(name, torch.zeros_like(value)) for name, value in full.items()}


def write_arch_code(code: Mapping[str, Any], path: Path) -> None:
    """Writes the code: a ``.pth`` as MONAI's search script saves it, or else JSON."""
    if path.suffix != ".pth":
        write_json(path, code)
        return
    arrays = {name: np.array(code[name]) for name in ("node_a", "arch_code_a", "arch_code_c")}
    content = {**arrays, "arch_code_a_max": arrays["arch_code_a"]}
    write_atomic(path, lambda file: torch.save(content, file))
