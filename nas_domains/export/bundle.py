"""A MONAI bundle of a run's segmentation network, in the layout that ``monai.bundle run`` takes.

A network of the space ``dints`` is MONAI's own there and needs nothing else; another is loaded by
nas_domains. The transforms are those that the task prepared its volumes with.
"""

import importlib.metadata
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.files import write_json, write_text
from ..medical.masks import mask_type
from ..version import __version__
from .load import build
from .monai import full_state, monai_network

__all__ = ["bundle_network", "write_bundle"]

WEIGHTS = "models/model.pt"
DESCRIPTION = "models/network.json"
RUN = (
    "python -m monai.bundle run --config_file configs/inference.json "
    "--meta_file configs/metadata.json"
)


def bundle_network(folder: str | Path) -> nn.Module:
    """The network of a bundle of ours with fresh weights, which its configuration then loads.

    Args:
        folder: The bundle.
    """
    text = (Path(folder) / DESCRIPTION).read_text(encoding="utf-8")
    description: dict[str, Any] = json.loads(text)
    description["input_shape"] = tuple(description["input_shape"])
    return build(description)


def write_bundle(
    network: nn.Module,
    description: Mapping[str, Any],
    code: Mapping[str, Any] | None,
    folder: Path,
    check: Callable[[nn.Module], None] = lambda made: None,
) -> None:
    """Writes the bundle, all files or none.

    Args:
        network: Trained.
        description: What ``nas_domains.export.load.load_description`` gives.
        code: What ``nas_domains.export.monai.arch_code`` gives; None for another space.
        folder: Must not be there yet, or be empty.
        check: Called with the bundle's network and its weights, as MONAI will have it; what it
            raises leaves nothing behind.

    Raises:
        UsageError: The folder is in use, or the task prepares its volumes in a way that no
            transforms of MONAI repeat.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{str(folder)!r} is there already: choose another folder by --out.")
    inference = _inference(description, code)
    state: Mapping[str, Tensor] = network.state_dict()
    if code is not None:
        state = full_state(state, code)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as name:
            made = Path(name) / "bundle"
            (made / "models").mkdir(parents=True)
            torch.save(dict(state), made / WEIGHTS)
            if code is None:
                write_json(made / DESCRIPTION, description)
            write_json(made / "configs/inference.json", inference)
            write_json(made / "configs/metadata.json", _metadata(description))
            write_text(made / "docs/README.md", _readme(description))
            again = bundle_network(made) if code is None else monai_network(code)
            weights = torch.load(made / WEIGHTS, weights_only=True)
            again.load_state_dict(weights)
            check(again)
            if folder.exists():
                folder.rmdir()
            made.rename(folder)
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(folder)!r} ({error.strerror or error}): choose a place that is "
            "writable and has room."
        ) from None


def _inference(description: Mapping[str, Any], code: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration: NIfTI files of a folder in, masks out."""
    before, windows = _preprocessing(description)
    values = description["preprocess"].get("values")
    after: list[dict[str, Any]] = [
        {"_target_": "Activationsd", "keys": "pred", "softmax": True},
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": False,
            "to_tensor": True,
        },
        {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
    ]
    if values and list(values) != list(range(len(values))):
        after.append(
            {
                "_target_": "MapLabelValued",
                "keys": "pred",
                "orig_labels": list(range(len(values))),
                "target_labels": list(values),
            }
        )
    after.append(
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "seg",
            "output_dtype": f"$np.{mask_type(values or [0])}",
            "separate_folder": False,
        }
    )
    # MONAI keeps what is imported under the whole name as written, so that it must have no dots.
    own = ["$from nas_domains.export.bundle import bundle_network"] if code is None else []
    return {
        "imports": ["$import glob", "$import numpy as np", "$import torch", *own],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/predictions'",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii*'))",
        **_network(code),
        "network": "$@network_def.to(@device)",
        "preprocessing": {"_target_": "Compose", "transforms": before},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': i} for i in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "num_workers": 0,
        },
        "inferer": windows,
        "postprocessing": {"_target_": "Compose", "transforms": after},
        "handlers": [
            {
                "_target_": "CheckpointLoader",
                "load_path": f"$@bundle_root + '/{WEIGHTS}'",
                "load_dict": {"model": "@network"},
                "map_location": "@device",
            }
        ],
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
        },
        "initialize": ["$torch.manual_seed(0)"],
        "run": ["$@evaluator.run()"],
    }


def _network(code: Mapping[str, Any] | None) -> dict[str, Any]:
    if code is None:
        return {"network_def": "$bundle_network(@bundle_root)"}
    return {
        "arch_code_a": code["arch_code_a"],
        "arch_code_c": code["arch_code_c"],
        "node_a": code["node_a"],
        "dints_space": {
            "_target_": "TopologyInstance",
            "arch_code": ["$np.array(@arch_code_a)", "$np.array(@arch_code_c)"],
            **code["topology"],
        },
        "network_def": {
            "_target_": "DiNTS",
            "dints_space": "@dints_space",
            "node_a": "$np.array(@node_a)",
            **code["network"],
        },
    }


def _preprocessing(description: Mapping[str, Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The transforms before the network, and what runs it over a volume."""
    given, shape = description["preprocess"], description["input_shape"]

    def step(target: str, **arguments: Any) -> dict[str, Any]:
        return {"_target_": target, "keys": "image", **arguments}

    steps = [step("LoadImaged"), step("EnsureChannelFirstd")]
    if given.get("flat"):
        raise UsageError(
            "The images of this run have two dimensions, which the transforms of a MONAI bundle "
            "do not read as slices: use --format onnx or torch, or nas-domains predict."
        )
    if given.get("loader") == "decathlon":
        steps.append(step("Orientationd", axcodes="RAS"))
        steps.append(step("Spacingd", pixdim=list(given["spacing"]), mode="bilinear"))
        steps.append(
            step(
                "CropForegroundd",
                source_key="image",
                select_fn="$lambda x: x > x.min()",
                allow_smaller=True,
            )
        )
        steps += _intensities(given["intensity"], step)
    elif given:
        raise UsageError(
            f"The data of this run is prepared by {given.get('loader')!r}, which a MONAI bundle "
            "does not know: use --format onnx or torch."
        )
    steps.append(step("EnsureTyped", dtype="$torch.float32"))
    axis = given.get("axis")
    if given.get("most"):
        # A usual volume or slice went through at once, its edge going on to a multiple of 8.
        k = [1 if side == axis else 8 for side in range(3)]
        steps.append(step("DivisiblePadd", k=k, mode="edge"))
        if axis is None:
            return steps, {"_target_": "SimpleInferer"}
        return steps, _slices(axis, {"roi_size": [-1, -1], "sw_batch_size": 8, "mode": "constant"})
    window = {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(given.get("window", shape[1:])),
        "sw_batch_size": 1,
        "overlap": 0.5,
        "mode": "gaussian",
        "padding_mode": "replicate",
    }
    return steps, window if axis is None else _slices(axis, window)


def _slices(axis: int, window: dict[str, Any]) -> dict[str, Any]:
    """Windows of slices across an axis."""
    return {**window, "_target_": "SliceInferer", "spatial_dim": axis}


def _intensities(entries: Any, step: Any) -> list[dict[str, Any]]:
    """The scaling of each channel; see ``nas_domains.medical.transforms.Preparation``."""
    percentiles = {tuple(e["percentiles"]) for e in entries if "percentiles" in e}
    if len(percentiles) == 1 and all("percentiles" in e for e in entries):
        low, high = percentiles.pop()
        return [
            step("ClipIntensityPercentilesd", lower=low, upper=high, channel_wise=True),
            step("NormalizeIntensityd", channel_wise=True),
        ]
    if percentiles:
        raise UsageError(
            "The channels of this run's data are scaled in several ways, which a MONAI bundle "
            "cannot repeat: use --format onnx or torch."
        )
    low, high = ([e["clip"][i] for e in entries] for i in (0, 1))
    column = "[:, None, None, None]"
    clip = f"$lambda x: x.clamp(torch.tensor({low}){column}, torch.tensor({high}){column})"
    mean, std = [e["mean"] for e in entries], [e["std"] for e in entries]
    return [
        step("Lambdad", func=clip),
        step("NormalizeIntensityd", subtrahend=mean, divisor=std, channel_wise=True),
    ]


def _metadata(description: Mapping[str, Any]) -> dict[str, Any]:
    shape, outputs = list(description["input_shape"]), description["outputs"]
    classes = list(description["classes"]) or [f"class {i}" for i in range(outputs)]
    modalities = description["preprocess"].get("modalities") or [""] * shape[0]

    def image(channels: int, kind: str, names: list[str]) -> dict[str, Any]:
        return {
            "type": "image",
            "format": kind,
            "num_channels": channels,
            "spatial_shape": shape[1:],
            "dtype": "float32",
            "value_range": [],
            "is_patch_data": False,
            "channel_def": {str(i): name for i, name in enumerate(names)},
        }

    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": "0.0.1",
        "changelog": {"0.0.1": f"exported by nas_domains {__version__}"},
        "monai_version": importlib.metadata.version("monai"),
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": importlib.metadata.version("numpy"),
        "required_packages_version": {
            name: importlib.metadata.version(name) for name in ("nibabel",)
        },
        "name": f"{description['space']} found by nas_domains",
        "task": "Segmentation",
        "description": f"A network of the space {description['space']}, found by nas_domains.",
        "authors": "nas_domains",
        "copyright": "",
        "network_data_format": {
            "inputs": {"image": image(shape[0], "magnitude", list(modalities))},
            "outputs": {"pred": image(outputs, "segmentation", classes)},
        },
    }


def _readme(description: Mapping[str, Any]) -> str:
    own = "" if description["space"] == "dints" else "It also needs nas_domains.\n"
    return (
        f"# A network of the space {description['space']}, found by nas_domains\n\n"
        "Put NIfTI images into `data/` and run, in this folder,\n\n"
        f"    {RUN}\n\n"
        "with `pip install monai nibabel fire pytorch-ignite`; masks come into `predictions/`.\n"
        + own
    )
