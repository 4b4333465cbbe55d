"""A plot of how honest the standard deviations of predictors are."""

from collections.abc import Mapping
from pathlib import Path

from ..core.errors import UsageError
from ..core.files import write_atomic
from ..evaluation.predictors.quality import LEVELS, Quality


def plot_calibration(path: Path, qualities: Mapping[str, Quality]) -> None:
    """Draws the share of truths within each central interval against the share that is meant.

    On the diagonal a predictor is honest, below it is too sure, above too careful.

    Args:
        path: The image to write; its ending names the format, e.g. ``.png``.
        qualities: Label -> quality.

    Raises:
        UsageError: Nothing to draw, or the place cannot be written.
    """
    from matplotlib.figure import Figure

    if not qualities:
        raise UsageError("A calibration plot needs the quality of one predictor or more.")
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.6", linestyle="--", linewidth=1)
    for label, quality in qualities.items():
        text = f"{label} (error {quality.calibration_error:.3f}, τ {quality.tau:.2f})"
        axes.plot([0, *LEVELS, 1], [0, *quality.curve, 1], marker=".", label=text)
    axes.set(xlabel="share meant", ylabel="share of truths within", xlim=(0, 1), ylim=(0, 1))
    axes.legend(frameon=False, fontsize="small", loc="upper left")
    write_atomic(path, lambda part: figure.savefig(part, format=path.suffix[1:] or "png"))
