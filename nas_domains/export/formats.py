"""Export to ONNX and to torch.export, each checked against PyTorch before it counts."""

import importlib.util
import io
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..core.errors import UsageError
from ..core.files import check_place, write_atomic
from ..core.seeds import generator
from ..core.space import SearchSpace
from ..nn.model_space import Model
from ..nn.traced import OneInput, quiet_exporters
from .for_transformers import save_folder
from .load import load, load_description

FORMATS = {
    "onnx": "model.onnx",
    "torch": "model.pt2",
    "transformers": "transformers",
    "arch-code": "arch_code.json",
    "arch-code-pth": "arch_code.pth",
    "monai-bundle": "bundle",
}
FOR_MONAI = ("arch-code", "arch-code-pth", "monai-bundle")
TOLERANCE = 1e-4
"""Largest difference from PyTorch, relative to the largest output, that an export may show."""


def export(
    run: str | Path,
    format: str,
    out: str | Path | None = None,
    *,
    space: SearchSpace | Model | None = None,
) -> tuple[Path, float]:
    """Exports a run's network, with a free batch size, and checks it numerically.

    Of a network of texts the length is free too. What the network takes (preprocessing, classes,
    architecture) goes into the file as metadata.

    Args:
        run: The run directory.
        format: "onnx"; "torch" for a ``torch.export`` archive; of an encoder that
            came from transformers "transformers" for a folder that its ``AutoModel`` loads;
            "monai-bundle" for a folder that ``monai.bundle run`` takes; of the space ``dints``
            "arch-code", or "arch-code-pth" in MONAI's own form, for the architecture alone.
        out: The file or folder; ``<run>/export/model.onnx`` or alike where None.
        space: The space or model, where the run was made with one that is not registered.

    Returns:
        The file, and the largest relative difference found.

    Raises:
        UsageError: Unknown format, a missing extra, no network, or an export that differs.
    """
    if format not in FORMATS:
        raise UsageError(f"Unknown format {format!r}: known are {', '.join(FORMATS)}.")
    if format == "onnx":
        for module in ("onnx", "onnxscript", "onnxruntime"):
            if importlib.util.find_spec(module) is None:
                raise UsageError(
                    f"ONNX needs {module}: pip install 'nas_domains[export]', or use "
                    "--format torch."
                )
    description = load_description(run)
    network = load(run, space=space)
    path = Path(out) if out is not None else Path(run) / "export" / FORMATS[format]
    if format == "transformers":
        return path, save_folder(network, description, path, TOLERANCE)
    if format != "monai-bundle":
        check_place(path)
    example, probe = _inputs(network, description["input_shape"])
    with torch.no_grad():
        expected = network(probe)
    difference = [0.0]

    def measure(found: Tensor) -> None:
        difference[0] = float(
            (found - expected).abs().max() / expected.abs().max().clamp_min(1e-6)
        )
        if not difference[0] <= TOLERANCE:
            raise UsageError(
                f"The {format} export differs from PyTorch by {difference[0]:.1e} of the largest "
                f"output, more than {TOLERANCE:g}: it was not written."
            )

    if format in FOR_MONAI:
        from .for_monai import write_for_monai

        write_for_monai(format, network, description, space, path, probe, measure)
        return path, difference[0]

    def write(file: Path) -> None:
        writer = _write_onnx if format == "onnx" else _write_torch
        found = writer(network, example, probe, description, file)
        measure(found)

    write_atomic(path, write)
    return path, difference[0]


def _inputs(network: nn.Module, shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """An input [2, ...] to trace and one [3, ...] to check; texts of different lengths."""
    make = getattr(network, "example", None)
    if make is not None:
        longest = max(4, *shape)
        return make([longest, 2]), make([longest - 1, 3, 2])
    return (
        torch.randn((2, *shape), generator=generator(0, "export")),
        torch.randn((3, *shape), generator=generator(1, "export")),
    )


def _metadata(description: dict[str, Any]) -> str:
    return json.dumps({k: v for k, v in description.items() if k != "input_shape"})


def _dynamic(network: nn.Module) -> dict[str, dict[int, Any]]:
    free = {0: torch.export.Dim("batch", min=1, max=65536)}
    longest = getattr(network, "longest", None)
    if longest is not None:
        free[1] = torch.export.Dim("length", min=2, max=longest)
    return {"x": free}


def _write_onnx(
    network: nn.Module, example: Tensor, probe: Tensor, description: dict[str, Any], file: Path
) -> Tensor:
    import onnx
    import onnxruntime

    with quiet_exporters():
        program = torch.onnx.export(
            OneInput(network),
            (example,),
            dynamo=True,
            dynamic_shapes=_dynamic(network),
            verbose=False,
            input_names=["x"],
            output_names=["scores"],
        )
    assert program is not None
    model = program.model_proto
    entry = model.metadata_props.add()
    entry.key, entry.value = "nas_domains", _metadata(description)
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())
    runtime = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (scores,) = runtime.run(None, {runtime.get_inputs()[0].name: probe.numpy()})
    return torch.from_numpy(scores)


def _write_torch(
    network: nn.Module, example: Tensor, probe: Tensor, description: dict[str, Any], file: Path
) -> Tensor:
    with quiet_exporters():
        program = torch.export.export(
            OneInput(network), (example,), dynamic_shapes=_dynamic(network)
        )
        content = io.BytesIO()
        torch.export.save(program, content, extra_files={"nas_domains": _metadata(description)})
        file.write_bytes(content.getvalue())
        content.seek(0)
        module = torch.export.load(content).module()
    with torch.no_grad():
        scores: Tensor = module(probe)
    return scores
