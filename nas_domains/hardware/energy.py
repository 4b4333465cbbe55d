"""Energy of a forward pass, from the counters of the processor or of the GPU."""

import importlib
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from ..core.errors import UsageError
from .cost import example_inputs

POWERCAP = Path("/sys/class/powercap")
LEAST_SECONDS = 1.0
"""Of passes that are counted: the counters are read about a thousand times a second."""


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text().strip()
    except OSError:
        return ""


class Rapl:
    """The energy counters of Intel's and AMD's processors, through Linux's powercap.

    They are of whole packages: what else the machine does in the meantime is in them.

    Args:
        folder: Where powercap's files are.

    Raises:
        UsageError: There are none, or they may not be read.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        # Zones within a package ("intel-rapl:0:0") are part of it, and it is part of "psys".
        found = [
            p
            for p in sorted(folder.glob("*-rapl:*"))
            if p.name.count(":") == 1 and _name(p) != "psys"
        ]
        self.files = [zone / "energy_uj" for zone in found]
        if not self.files:
            raise UsageError(
                f"The objective energy_mj needs energy counters, and {str(folder)!r} has none "
                "here: leave it out, or search on a machine with RAPL or an NVIDIA GPU."
            )
        try:
            self.ranges = [int((f.parent / "max_energy_range_uj").read_text()) for f in self.files]
            self.read()
        except (OSError, ValueError) as error:
            raise UsageError(
                f"The objective energy_mj cannot read {str(self.files[0])!r} ({error}): allow it "
                "with chmod a+r, or leave the objective out."
            ) from None

    def read(self) -> list[int]:
        """Microjoules so far, of each package; they begin again at their range."""
        return [int(file.read_text()) for file in self.files]

    def since(self, before: list[int]) -> float:
        """Millijoules of all packages since a reading."""
        spent = [
            (now - then) % (span + 1)
            for now, then, span in zip(self.read(), before, self.ranges, strict=True)
        ]
        return sum(spent) / 1000


class Nvml:
    """The energy counter of an NVIDIA GPU, through NVML.

    Raises:
        UsageError: NVML or the counter is not there.
    """

    def __init__(self) -> None:
        try:
            pynvml = importlib.import_module("pynvml")
        except ImportError:
            raise UsageError(
                "The objective energy_mj of a GPU needs NVML: pip install nvidia-ml-py."
            ) from None
        try:
            pynvml.nvmlInit()
            uuid = str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid)
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(f"GPU-{uuid}")
            self._total = pynvml.nvmlDeviceGetTotalEnergyConsumption
            self.read()
        except pynvml.NVMLError as error:
            raise UsageError(
                f"The objective energy_mj cannot read this GPU's counter ({error}): leave it out."
            ) from None

    def read(self) -> list[int]:
        """Millijoules since the driver was loaded."""
        return [int(self._total(self._handle))]

    def since(self, before: list[int]) -> float:
        """Millijoules since a reading."""
        return float(self.read()[0] - before[0])


def energy_meter(device: torch.device) -> Rapl | Nvml:
    """What counts the energy of a device.

    Raises:
        UsageError: Nothing does here.
    """
    return Nvml() if device.type == "cuda" else Rapl()


def measure_energy(
    network: nn.Module,
    input_shape: tuple[int, ...],
    *,
    meter: Rapl | Nvml | None = None,
    seconds: float = LEAST_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> float:
    """Mean millijoules of a forward pass of one input where the network lies.

    Idle power is in it: it is what the machine takes while it runs the network.

    Args:
        network: The plain network; its mode is left as it was.
        input_shape: Shape of one input, without the batch.
        meter: Of the device; that of the network's parameters where None.
        seconds: Of passes at least.
        clock: Says the seconds.

    Raises:
        UsageError: Nothing counts the energy here.
    """
    device = next(network.parameters()).device
    meter = meter or energy_meter(device)
    inputs = example_inputs(network, input_shape, device)
    x = inputs[len(inputs) // 2]
    was_training = network.training
    network.eval()
    passes = 0
    try:
        with torch.inference_mode():
            for _ in range(3):
                network(x)
            _wait(device)
            before, began = meter.read(), clock()
            while clock() - began < seconds:
                network(x)
                _wait(device)
                passes += 1
            spent = meter.since(before)
    finally:
        network.train(was_training)
    return spent / passes


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
