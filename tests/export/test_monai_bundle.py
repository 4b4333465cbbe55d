"""What MONAI takes of a run: the architecture code, and a bundle that runs in a process alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.evaluation import checkpoint
from nas_domains.export.formats import export
from nas_domains.export.load import load_description
from nas_domains.export.monai import full_state, monai_network
from tests.medical.blocks import SPACES, task

pytest.importorskip("monai")
pytest.importorskip("nibabel")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return nd.search(
        SPACES[3],
        task(3),
        out=tmp_path_factory.mktemp("runs") / "a",
        strategy="dints",
        budget="steps=2",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )


def test_the_code_builds_plain_monai_with_equal_outputs(run, tmp_path):
    path, difference = export(run.path, "arch-code")
    assert path.name == "arch_code.json" and difference < 1e-5
    code = json.loads(path.read_text())
    network = monai_network(code)
    ours = nd.load(run.path)
    network.load_state_dict(full_state(ours.state_dict(), code))
    x = torch.randn(1, 1, 8, 12, 8)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(x), ours(x), rtol=1e-4, atol=1e-4)


def test_the_codes_file_is_as_monai_saves_it(run, tmp_path):
    code = json.loads(export(run.path, "arch-code", tmp_path / "a.json")[0].read_text())
    path, _ = export(run.path, "arch-code-pth", tmp_path / "a.pth")
    # Ours, so it may be unpickled here.
    found = torch.load(path, weights_only=False)
    for name in ("node_a", "arch_code_a", "arch_code_c"):
        assert isinstance(found[name], np.ndarray) and found[name].tolist() == code[name]


def volumes(folder: Path) -> Path:
    """Two NIfTI volumes of other sizes, spacing and orientation."""
    import nibabel

    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, shape in (("a", (9, 14, 10)), ("b", (12, 8, 8))):
        affine = np.diag([-1.0, 1.0, 1.0, 1.0])
        affine[:3, 3] = 3, 4, 5
        image = nibabel.Nifti1Image(rng.normal(size=shape).astype(np.float32), affine)
        nibabel.save(image, folder / f"{name}.nii.gz")
    return folder


def prepared(run, tmp_path, **preprocess):
    """The run again, as if its task had prepared NIfTI volumes."""
    copy = tmp_path / "run"
    import shutil

    shutil.copytree(run.path, copy)
    file = copy / "best" / "network.json"
    description = json.loads(file.read_text())
    description["preprocess"] = {
        "loader": "decathlon",
        "modalities": ["MRI"],
        "values": [0, 7],
        "spacing": [1.0, 1.0, 1.0],
        "intensity": [{"percentiles": [0.5, 99.5]}],
        "window": [8, 12, 8],
        "most": 0,
        **preprocess,
    }
    file.write_text(json.dumps(description))
    return copy


def run_bundle(bundle: Path, data: Path, out: Path) -> None:
    pytest.importorskip("fire")
    pytest.importorskip("ignite")
    command = [
        *(sys.executable, "-m", "monai.bundle", "run"),
        *("--config_file", "configs/inference.json", "--meta_file", "configs/metadata.json"),
        *("--dataset_dir", str(data), "--output_dir", str(out)),
    ]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(command, cwd=bundle, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


@pytest.mark.parametrize("most", [0, pytest.param(10**6, marks=pytest.mark.slow)])
def test_the_bundle_runs_in_a_process_of_its_own(run, tmp_path, most):
    import nibabel

    bundle, difference = export(prepared(run, tmp_path, most=most), "monai-bundle")
    assert difference < 1e-5
    text = (bundle / "configs/inference.json").read_text()
    assert '"DiNTS"' in text and "nas_domains" not in text
    data = volumes(tmp_path / "data")
    run_bundle(bundle, data, tmp_path / "masks")
    for name in ("a", "b"):
        image = nibabel.load(data / f"{name}.nii.gz")
        mask = nibabel.load(tmp_path / "masks" / f"{name}_seg.nii.gz")
        assert mask.shape == image.shape and np.allclose(mask.affine, image.affine)
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 7}


def test_metadata_says_what_goes_in_and_out(run, tmp_path):
    bundle, _ = export(run.path, "monai-bundle", tmp_path / "b")
    metadata = json.loads((bundle / "configs/metadata.json").read_text())
    formats = metadata["network_data_format"]
    assert formats["inputs"]["image"]["spatial_shape"] == [8, 12, 8]
    assert formats["outputs"]["pred"]["num_channels"] == 2
    weights = torch.load(bundle / "models/model.pt", weights_only=True)
    ours = checkpoint.load(run.path / "best/model.safetensors")
    assert all(torch.equal(weights[name], value) for name, value in ours.items())
    with pytest.raises(UsageError, match="there already"):
        export(run.path, "monai-bundle", bundle)


@pytest.mark.parametrize(
    "preprocess, words",
    [
        ({"loader": "folder"}, "prepared by 'folder'"),
        (
            {
                "intensity": [
                    {"percentiles": [1, 99]},
                    {"clip": [0, 1], "mean": 0.0, "std": 1.0},
                ]
            },
            "several ways",
        ),
    ],
)
def test_what_no_bundle_can_repeat_is_refused(run, tmp_path, preprocess, words):
    copy = prepared(run, tmp_path, **preprocess)
    with pytest.raises(UsageError, match=words):
        export(copy, "monai-bundle", tmp_path / "b")
    assert not (tmp_path / "b").exists() and load_description(copy)


def test_a_classification_is_refused(tmp_path):
    from tests.make import make_task

    run = nd.search(
        "nasbench201:cells=1,channels=4",
        make_task(),
        out=tmp_path / "run",
        strategy="random",
        budget="trials=1,epochs=1",
        train_budget="epochs=1",
        validate=False,
        quiet=True,
    )
    for format in ("monai-bundle", "arch-code"):
        with pytest.raises(UsageError, match="segmentation"):
            export(run.path, format)
