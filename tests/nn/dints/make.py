"""A small supernet, and MONAI's own with the same weights."""

import contextlib
import io

import torch

from nas_domains.nn.dints.space import DintsSpace
from nas_domains.nn.dints.supernet import CANDIDATE, PATH

SIZES = {2: (1, 16, 24), 3: (1, 8, 16, 8)}


def space(dims=3, **changes):
    config = {"dims": dims, "blocks": 3, "depths": 3, "channels": 4, "down": True}
    return DintsSpace("dints", config | changes)


def monai(made, arch_code=None, node_a=None, outputs=3):
    """MONAI's DiNTS with the sizes of a space."""
    from monai.networks.nets import dints

    c = made.config
    kind = dints.TopologySearch if arch_code is None else dints.TopologyInstance
    with contextlib.redirect_stdout(io.StringIO()):
        topology = kind(
            arch_code=arch_code,
            channel_mul=c["channels"] / 32,
            num_blocks=c["blocks"],
            num_depths=c["depths"],
            spatial_dims=c["dims"],
            use_downsample=c["down"],
        )
        return dints.DiNTS(
            topology,
            1,
            outputs,
            spatial_dims=c["dims"],
            use_downsample=c["down"],
            node_a=node_a,
        )


def pair(made, seed=0):
    """Our supernet and MONAI's, in float64, with one set of weights."""
    torch.manual_seed(seed)
    theirs = monai(made).double()
    ours = made.supernet(SIZES[made.config["dims"]], 3).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.add_(0.1 * torch.randn_like(p))
        state = theirs.state_dict()
        ours.alphas[PATH].copy_(state.pop("dints_space.log_alpha_a").reshape(-1, 1))
        ours.alphas[CANDIDATE].copy_(state.pop("dints_space.log_alpha_c").flatten(0, 1))
    ours.body.load_state_dict(state)
    return ours, theirs
