"""Hand-made networks that a search is compared with, on the same recipe: those of MONAI."""

from monai.networks.nets import DynUNet, ResNet, SegResNet, UNet
from torch import nn

from ..core.registry import baselines as _baselines
from ..core.task import Task
from ..nn.single import single

_LEVELS = (16, 32, 64, 128)


def baselines(task: Task) -> dict[str, nn.Module]:
    """The hand-made rows of a report, by name, with fresh weights.

    A segmentation has three networks of about 1.2 million parameters in 3D; volumes to classify
    have a 3D ResNet-18 of quarter width, images vision's own. Those of
    segmentation have the 3D convolutions of the space ``unet``, so that latencies compare.
    """
    dims = len(task.input_shape) - 1
    if task.infer is None:
        if dims == 2:
            images: dict[str, nn.Module] = _baselines.load("vision")(task)
            return images
        return {"resnet18-quarter": _resnet(task, dims)}
    common = {
        "spatial_dims": dims,
        "in_channels": task.input_shape[0],
        "out_channels": task.outputs,
    }
    found: dict[str, nn.Module] = {
        "unet": UNet(channels=_LEVELS, strides=(2, 2, 2), num_res_units=2, **common),
        "segresnet": SegResNet(init_filters=8, **common),
        "dynunet": DynUNet(
            kernel_size=[3] * 4,
            strides=[1, 2, 2, 2],
            upsample_kernel_size=[2] * 3,
            filters=[16, 32, 64, 96],
            **common,
        ),
    }
    return {name: single(network) for name, network in found.items()}


def _resnet(task: Task, dims: int) -> nn.Module:
    network: nn.Module = ResNet(
        "basic",
        [2, 2, 2, 2],
        list(_LEVELS),
        spatial_dims=dims,
        n_input_channels=task.input_shape[0],
        conv1_t_size=3,
        conv1_t_stride=1,
        no_max_pool=True,
        num_classes=task.outputs,
    )
    return network
