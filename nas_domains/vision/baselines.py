"""Hand-made networks that a search is compared with, on the same recipe."""

from collections import OrderedDict

from torch import Tensor, nn

from ..core.task import Task

_STEM_LIMIT = 64
_QUARTER = 0.25


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut, after He et al. 2016, figure 5.

    Args:
        inputs: Channels that come in.
        outputs: Channels that go out.
        stride: Stride of the first convolution; the shortcut is projected where it is not 1 or
            the channels change.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps [B, inputs, H, W] to [B, outputs, H / stride, W / stride]."""
        out = self.relu(self.norm1(self.conv1(x)))
        out = self.norm2(self.conv2(out))
        result: Tensor = self.relu(out + self.shortcut(x))
        return result


def resnet18(task: Task, width: float = 1.0) -> nn.Module:
    """ResNet-18 (He et al. 2016, arXiv 1512.03385) for the images of a task.

    Images up to 64 pixels get the stem of that paper's CIFAR networks, one 3x3 convolution; larger
    ones that of its ImageNet networks, 7x7 with stride 2 and a pooling. Weights are drawn as in He
    et al. 2015 (arXiv 1502.01852, fan-out), from torch's global generator.

    Args:
        task: Gives the shape of the input (C, H, W) and the number of outputs.
        width: Factor on the channels 64, 128, 256, 512; 0.25 makes about 0.7 million parameters.

    Returns:
        A module [B, C, H, W] -> [B, outputs].
    """
    channels, height, breadth = task.input_shape
    widths = [max(1, round(base * width)) for base in (64, 128, 256, 512)]
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    if max(height, breadth) <= _STEM_LIMIT:
        layers["conv"] = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
    else:
        layers["conv"] = nn.Conv2d(channels, widths[0], 7, 2, 3, bias=False)
    layers["norm"] = nn.BatchNorm2d(widths[0])
    layers["relu"] = nn.ReLU()
    if max(height, breadth) > _STEM_LIMIT:
        layers["pool"] = nn.MaxPool2d(3, 2, 1)
    inputs = widths[0]
    for stage, outputs in enumerate(widths, 1):
        stride = 1 if stage == 1 else 2
        layers[f"stage{stage}"] = nn.Sequential(
            BasicBlock(inputs, outputs, stride), BasicBlock(outputs, outputs, 1)
        )
        inputs = outputs
    layers["mean"] = nn.AdaptiveAvgPool2d(1)
    layers["flat"] = nn.Flatten()
    layers["head"] = nn.Linear(inputs, task.outputs)
    network = nn.Sequential(layers)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def baselines(task: Task) -> dict[str, nn.Module]:
    """The hand-made rows of a report, by name, with fresh weights."""
    return {"resnet18-quarter": resnet18(task, width=_QUARTER)}
