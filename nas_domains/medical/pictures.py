"""Pictures of slices with the truth and what a network makes of them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ..core.files import write_atomic
from ..data.volumes import Volumes
from .scoring import WholeVolume

_COLOURS = ("#e6a52e", "#1d9bf0", "#c2317f", "#4bbc4b", "#a07be8", "#c75b00")


def draw_cases(
    volumes: Volumes,
    infer: WholeVolume,
    classes: Sequence[str],
    network: nn.Module,
    chosen: Sequence[int],
    folder: Path,
) -> None:
    """Writes a PNG for each chosen case, named by its place and its case: ``1-name.png``.

    Args:
        volumes: The test split.
        infer: Runs the network over a volume.
        classes: Names of the classes; the background is first.
        network: Trained, on any device.
        chosen: Numbers of cases.
        folder: Made if it is not there; what an earlier network left in it is removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    device = next(network.parameters()).device
    network.eval()
    axis = 2 if infer.axis is None else infer.axis
    for place, index in enumerate(chosen, 1):
        x, y = volumes[index]
        with torch.no_grad():
            predicted = infer(network, x[None].to(device))[0].argmax(0).cpu()
        name = volumes.names[index]
        seen = (each.movedim(axis, 2) for each in (x[0], y, predicted))
        content = picture(*seen, classes=classes, name=name)
        write_atomic(folder / f"{place}-{name}.png", lambda part, c=content: _write(part, c))  # type: ignore[misc]


def picture(
    x: Tensor, truth: Tensor, predicted: Tensor, *, classes: Sequence[str], name: str
) -> bytes:
    """Three slices in the order of the third axis, with outlines of truth and prediction, as PNG.

    Args:
        x: Intensities [X, Y, Z].
        truth: Classes [X, Y, Z].
        predicted: Classes [X, Y, Z].
        classes: Their names.
        name: The case.
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    slices = _slices(truth)
    low, high = np.percentile(x.numpy(), [1, 99])
    figure = Figure(figsize=(2.2 * len(slices), 5.2), layout="constrained")
    rows = figure.subplots(2, len(slices), squeeze=False)
    for row, (label, mask) in zip(rows, (("truth", truth), ("winner", predicted)), strict=True):
        for axes, z in zip(row, slices, strict=True):
            axes.imshow(x[:, :, z].numpy().T, cmap="gray", vmin=low, vmax=high, origin="lower")
            for number in range(1, len(classes)):
                inside = (mask[:, :, z] == number).numpy().T
                if inside.any():
                    colour = _COLOURS[(number - 1) % len(_COLOURS)]
                    axes.contour(inside, levels=[0.5], colors=colour, linewidths=1.4)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_title(f"{label}, slice {z}", fontsize=8)
    figure.suptitle(name, fontsize=9)
    lines = [
        Line2D([], [], color=colour, label=text)
        for text, colour in zip(classes[1:], _COLOURS * len(classes), strict=False)
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=4, fontsize=8, frameon=False)
    content = io.BytesIO()
    # Without a date and a version the same picture has the same bytes.
    figure.savefig(content, format="png", dpi=90, metadata={"Software": None})
    return content.getvalue()


def _slices(truth: Tensor) -> list[int]:
    """Three slices that hold something: at a quarter, the middle and three quarters of them."""
    filled = (truth > 0).flatten(0, 1).any(0).nonzero().flatten().tolist()
    filled = filled or list(range(truth.shape[2]))
    places = (len(filled) // 4, len(filled) // 2, 3 * len(filled) // 4)
    return sorted({filled[min(place, len(filled) - 1)] for place in places})


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
