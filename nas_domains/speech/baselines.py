"""Hand-made networks that a search on recordings is compared with, on the same recipe."""

from collections import OrderedDict

from torch import nn

from ..core.task import Task

_WIDTHS = (16, 32, 64, 64)


def cnn(task: Task) -> nn.Module:
    """Four 3x3 convolutions with batch norm and ReLU; all but the last end in a 2x2 max pooling.

    About 61,000 parameters with ten classes. Weights are drawn as in He et al. 2015
    (arXiv 1502.01852, fan-in), from torch's global generator.

    Args:
        task: Gives the shape of the input (C, bands, frames) and the number of outputs.

    Returns:
        A module [B, C, bands, frames] -> [B, outputs].
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    inputs = task.input_shape[0]
    for i, outputs in enumerate(_WIDTHS, 1):
        layers[f"conv{i}"] = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
        layers[f"norm{i}"] = nn.BatchNorm2d(outputs)
        layers[f"relu{i}"] = nn.ReLU()
        if i < len(_WIDTHS):
            layers[f"pool{i}"] = nn.MaxPool2d(2, ceil_mode=True)
        inputs = outputs
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["head"] = nn.Linear(inputs, task.outputs)
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    return network


def baselines(task: Task) -> dict[str, nn.Module]:
    """The hand-made rows of a report, by name, with fresh weights.

    None where x is samples, or spectrograms for a checkpoint: recipes of fine-tuning are not made
    for weights that begin at random.
    """
    fits = len(task.input_shape) == 3 and "features" not in task.preprocess
    return {"cnn": cnn(task)} if fits else {}
