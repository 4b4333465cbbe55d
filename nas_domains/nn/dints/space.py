"""The DiNTS space: which paths are there in each block, and the candidate of each."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from ...core.architecture import Architecture
from ...core.errors import UsageError
from ...core.space import Choice, SearchSpace
from .layers import CANDIDATES
from .network import DintsNetwork, Frame
from .supernet import CANDIDATE, PATH, DintsSupernet
from .topology import Bools, Topology

__all__ = ["DintsSpace"]

ON, OFF = "on", "off"
PADDED = 8
"""Multiple to which volumes are padded that go through a network whole."""


class DintsSpace(SearchSpace):
    """Topology and cells of DiNTS (He et al. 2021, arXiv 2103.15954), in 2D or 3D.

    For each path of each block, from resolution 0 (the finest) on, a choice says whether it is
    there, ``block1.0-1``, and another its candidate, ``block1.0-1.candidate``. Any choices make a
    network: paths that lie on no way from an input to an output are left out, and where no way is
    left the finest resolution alone stays, with the first convolution. So every architecture
    stands for a connected topology, and every connected topology has one.

    Args:
        name: Registered name.
        config: ``dims``, ``blocks``, ``depths``, ``channels`` (at the image's resolution; each
            half of it has twice as many) and ``down`` (whether blocks begin at half of it).
    """

    has_supernet = True
    mixes = True
    # Named as the strategy is; no other knows topologies.
    strategy = "dints"

    def __init__(self, name: str, config: Mapping[str, Any]) -> None:
        self.topology = Topology(config["blocks"], config["depths"])
        self.candidates = CANDIDATES[config["dims"]]
        choices = []
        for block in range(config["blocks"]):
            for path in range(len(self.topology.paths)):
                at = self.choice(block, path)
                choices.append(Choice(at, (OFF, ON)))
                choices.append(Choice(f"{at}.candidate", tuple(self.candidates), at, (ON,)))
        super().__init__(name, choices, config)

    def choice(self, block: int, path: int) -> str:
        """The name of the choice whether a path is there."""
        return f"block{block + 1}.{self.topology.paths[path]}"

    def active(self, architecture: Mapping[str, Any]) -> Bools:
        """The paths of an architecture's network, boolean [blocks, P]."""
        chosen = np.array(
            [
                [architecture[self.choice(b, p)] == ON for p in range(len(self.topology.paths))]
                for b in range(self.topology.blocks)
            ]
        )
        found = self.topology.pruned(chosen)
        return found if found.any() else self.topology.straight()

    def cells(self, architecture: Mapping[str, Any]) -> dict[tuple[int, int], int]:
        """(block, path) of an architecture's network -> number of its candidate."""
        names = list(self.candidates)
        return {
            (int(b), int(p)): names.index(
                architecture.get(f"{self.choice(b, p)}.candidate", names[1])
            )
            for b, p in np.argwhere(self.active(architecture))
        }

    def canonical(self, architecture: Mapping[str, Any]) -> Architecture:
        """The architecture of the same network that has no other paths."""
        return self.of_cells(self.cells(architecture))

    def of_cells(self, cells: Mapping[tuple[int, int], int]) -> Architecture:
        """The architecture of some paths with the numbers of their candidates."""
        names = list(self.candidates)
        choices: dict[str, str] = {}
        for b in range(self.topology.blocks):
            for p in range(len(self.topology.paths)):
                at, index = self.choice(b, p), cells.get((b, p))
                choices[at] = OFF if index is None else ON
                if index is not None:
                    choices[f"{at}.candidate"] = names[index]
        return self.architecture(choices)

    def decode(self, strengths: Mapping[str, Tensor]) -> Architecture:
        """The most probable connected topology, with the strongest candidate of each path.

        Args:
            strengths: Kind -> weights [rows, 2] and [rows, K], as a supernet gives them.
        """
        off = strengths[PATH][:, 0].reshape(self.topology.blocks, -1)
        active = self.topology.decode(1 - off)
        best = strengths[CANDIDATE].argmax(1).reshape(active.shape).tolist()
        return self.of_cells({(int(b), int(p)): best[b][p] for b, p in np.argwhere(active)})

    @property
    def step(self) -> int:
        """What the sides of inputs are multiples of."""
        return int(2 ** (self.config["depths"] - 1 + int(self.config["down"])))

    def check_task(self, preprocess: Mapping[str, Any]) -> None:
        """See the base; patches and padded volumes must have sides that can be halved so often."""
        window, whole = preprocess.get("window"), preprocess.get("most", 0) > 0
        if window is None:
            return
        if any(side % self.step for side in window) or (whole and PADDED % self.step):
            raise UsageError(
                f"The space {self.name!r} with depths={self.config['depths']} takes sides that "
                f"are multiples of {self.step}, and volumes come as windows of "
                f"{'x'.join(map(str, window))} or padded to multiples of {PADDED}: use fewer "
                "depths."
            )

    def frame(self, input_shape: tuple[int, ...], outputs: int) -> Frame:
        """The sizes of the networks for one input and output.

        Raises:
            UsageError: An input of other dims, or whose sides cannot be halved so often.
        """
        c = self.config
        if len(input_shape) != c["dims"] + 1 or min(input_shape) < 1:
            raise UsageError(
                f"The space {self.name!r} with dims={c['dims']} takes inputs of {c['dims']} "
                f"dimensions and channels first, not of shape {tuple(input_shape)}: its option "
                "dims says how many."
            )
        step = self.step
        sides = input_shape[1:]
        if any(side % step for side in sides) or all(side == step for side in sides):
            raise UsageError(
                f"The space {self.name!r} with depths={c['depths']} takes inputs whose sides are "
                f"multiples of {step} and not all {step}, not {'x'.join(map(str, sides))}: pad "
                "them, or use fewer depths."
            )
        return Frame(
            dims=c["dims"],
            blocks=c["blocks"],
            depths=c["depths"],
            filters=tuple(c["channels"] * 2**i for i in range(c["depths"] + 1)),
            down=c["down"],
            c_in=input_shape[0],
            outputs=outputs,
        )

    def build(
        self, architecture: Architecture, input_shape: tuple[int, ...], outputs: int
    ) -> DintsNetwork:
        """The plain network of an architecture; see :meth:`SearchSpace.build`."""
        return DintsNetwork(self.frame(input_shape, outputs), self.cells(architecture))

    def supernet(self, input_shape: tuple[int, ...], outputs: int) -> DintsSupernet:
        """The supernet; see :meth:`SearchSpace.supernet`."""
        return DintsSupernet(self, self.frame(input_shape, outputs))

    def parameter_free(self, architecture: Architecture) -> float:
        """The share of paths with the skip connection at one resolution; see the base."""
        cells = self.cells(architecture)
        free = [i == 0 and self.topology.paths[p].rate == 0 for (_, p), i in cells.items()]
        return sum(free) / len(free)

    def arch_code(self, architecture: Architecture) -> dict[str, Any]:
        """What MONAI's ``TopologyInstance`` and ``DiNTS`` take, as nested lists.

        Returns:
            {"arch_code_a": [blocks, P] of 0 and 1, "arch_code_c": [blocks, P] numbers of
            candidates, "node_a": [blocks + 1, depths] of 0 and 1}.
        """
        active = self.active(architecture)
        numbers = np.zeros(active.shape, dtype=int)
        for place, index in self.cells(architecture).items():
            numbers[place] = index
        return {
            "arch_code_a": active.astype(int).tolist(),
            "arch_code_c": numbers.tolist(),
            "node_a": self.topology.nodes(active).astype(int).tolist(),
        }

    def from_arch_code(self, code: Mapping[str, Any]) -> Architecture:
        """Reads what :meth:`arch_code` writes, or what MONAI's ``decode`` gives.

        Raises:
            UsageError: Arrays of another shape, or candidates that do not exist.
        """
        shape = (self.topology.blocks, len(self.topology.paths))
        active, numbers = (np.asarray(code[name]) for name in ("arch_code_a", "arch_code_c"))
        bad = active.shape != shape or numbers.shape != shape
        if bad or not 0 <= numbers.min() <= numbers.max() < len(self.candidates):
            raise UsageError(
                f"The arch_code is not one of {self.name!r}: arch_code_a and arch_code_c must be "
                f"of shape {shape}, with candidates from 0 to {len(self.candidates) - 1}."
            )
        return self.of_cells(
            {(int(b), int(p)): int(numbers[b, p]) for b, p in np.argwhere(active)}
        )
