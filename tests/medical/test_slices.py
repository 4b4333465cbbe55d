"""Slices of volumes through networks of two dimensions, and images of one slice."""

import shutil

import nibabel
import numpy as np
import pytest
import torch

import nas_domains as nd
from nas_domains.core.errors import UsageError
from nas_domains.core.evaluate import Fidelity
from nas_domains.evaluation.fidelity import reduced
from nas_domains.export.formats import export
from nas_domains.export.predict import predict
from nas_domains.medical.scoring import WholeVolume
from nas_domains.medical.transforms import Patches
from tests.export.test_monai_bundle import run_bundle
from tests.make import make_context, one_sentence
from tests.medical.make import volume, write_case, write_folder, write_index

SPACE = "unet:channels=4-6-8,depths=2-3"


def thick(axis):
    """An affine whose voxels are three times as long along an axis."""
    sides = [1.0] * 3
    sides[axis] = 3.0
    return np.diag([*sides, 1.0])


def write_flat(folder, cases, channels=1):
    """A data set of images of two dimensions."""
    rng = np.random.default_rng(0)
    names = [f"flat_{i:02}" for i in range(cases)]
    for i, name in enumerate(names):
        image, label = volume(rng, (24 + i % 3, 19))
        if channels > 1:
            image = np.stack([image] * channels, -1)
        write_case(folder, name, image, label)
    write_index(folder, names, ("MRI",) * channels)
    return folder


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_lie_across_the_longest_voxels(tmp_path, axis):
    task = nd.load_task(
        str(write_folder(tmp_path / "data", 8, affine=thick(axis))), dims=2, patches=3
    )
    assert task.infer.axis == axis and len(task.input_shape) == 3
    x, y = task.train.draw([0, 1], torch.Generator().manual_seed(0))
    assert x.shape[:2] == (2, 1) and x.shape[2:] == y.shape[1:] == tuple(task.infer.window)
    whole, truth = task.test[0]
    assert whole.dim() == 4 and whole.shape[1:] == truth.shape
    assert task.passes == round(np.median([whole.shape[1 + axis] for whole, _ in task.train]))
    assert any("slices across" in note for note in task.notes)


def test_a_slice_of_a_patch_is_one_of_the_volume():
    x = torch.arange(6 * 8 * 5, dtype=torch.float32).reshape(1, 6, 8, 5)
    y = (x[0] % 2).to(torch.uint8)
    for axis in range(3):
        sides = [s for i, s in enumerate(x.shape[1:]) if i != axis]
        patches = Patches(sides, 2, (), axis)
        patch, classes = patches.draw(x, y, patches.places(y), seed=3)
        slices = x.movedim(1 + axis, 0)
        found = [n for n, one in enumerate(slices) if torch.equal(one, patch)]
        assert len(found) == 1 and torch.equal(y.movedim(axis, 0)[found[0]].long(), classes.long())


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("most", [0, 10**6])
def test_a_volume_goes_through_slice_by_slice(axis, most):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 17, 12, 15)
    network = torch.nn.Conv2d(2, 3, 1)
    found = WholeVolume((8, 8), most, axis)(network, x)
    weight = network.weight[..., None]
    expected = torch.nn.functional.conv3d(x, weight, network.bias)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    plane = [s for i, s in enumerate(x.shape[2:]) if i != axis]
    alone = WholeVolume((8, 8), most).passes(plane)
    assert WholeVolume((8, 8), most, axis).passes(x.shape[2:]) == x.shape[2 + axis] * alone


def test_slices_stay_as_far_apart_as_they_are(tmp_path):
    """Cases of other distances between slices are not resampled across them, unless asked."""
    folder = write_folder(tmp_path / "data", 8, affine=thick(2))
    path = folder / "imagesTr" / "ball_07.nii.gz"
    for kind in ("imagesTr", "labelsTr"):
        path = folder / kind / "ball_07.nii.gz"
        array = np.asarray(nibabel.load(path).dataobj)
        nibabel.save(nibabel.Nifti1Image(array, np.diag([1.0, 1.0, 2.0, 1.0])), path)
    depth = nibabel.load(path).shape[2]
    task = nd.load_task(str(folder), dims=2, patches=1)
    assert any("trained at 1x1xown mm" in note for note in task.notes)
    assert task.test[task.test.names.index("ball_07")][0].shape[3] == depth
    task = nd.load_task(str(folder), dims=2, patches=1, spacing="1x1x3")
    assert task.test[task.test.names.index("ball_07")][0].shape[3] < depth


def test_a_fidelity_keeps_the_slices(balls, tmp_path):
    task = nd.load_task(str(balls), dims=2, patches=2)
    context = make_context(tmp_path, nd.load_space(SPACE), task)
    cheap = reduced(context, Fidelity(1, data=0.5, resolution=0.5)).task
    whole, small = task.val[0][0], cheap.val[0][0]
    assert small.shape[3] == whole.shape[3] and small.shape[1] < whole.shape[1]
    assert cheap.val[0][1].shape == small.shape[1:]
    x, _ = cheap.train.draw([0], torch.Generator().manual_seed(0))
    assert x.dim() == 4 and x.shape[2] < task.infer.window[0]


def test_slices_end_to_end(tmp_path):
    """Search, comparison, pictures, masks, and MONAI's own process on the bundle."""
    affine = thick(1)
    affine[:3, 3] = 7, -8, 9
    folder = write_folder(tmp_path / "data", affine=affine)
    run = nd.search(
        SPACE, str(folder), out=tmp_path / "run", strategy="random",
        budget="trials=2,epochs=1", train_budget="epochs=1", randoms=1,
        recipe={"batch_size": 4}, task_options={"patches": 4, "dims": 2}, quiet=True,
    )  # fmt: skip
    assert set(run.result["baselines"]) == {"unet", "segresnet", "dynunet"}
    page = (run.path / "report.html").read_text()
    assert page.count("data:image/png;base64,") == 2 and "slices across back-front" in page
    scans = tmp_path / "scans"
    scans.mkdir()
    for name in ("ball_10", "ball_11"):
        shutil.copy(folder / "imagesTr" / f"{name}.nii.gz", scans)
    assert predict(run.path, str(scans), tmp_path / "masks", quiet=True) == 2
    bundle, difference = export(run.path, "monai-bundle")
    assert difference < 1e-4
    run_bundle(bundle, scans, tmp_path / "theirs")
    for name in ("ball_10", "ball_11"):
        ours = nibabel.load(tmp_path / "masks" / f"{name}.nii.gz")
        theirs = nibabel.load(tmp_path / "theirs" / f"{name}_seg.nii.gz")
        assert ours.shape == nibabel.load(scans / f"{name}.nii.gz").shape
        np.testing.assert_allclose(ours.affine, affine)
        agree = np.mean(np.asarray(ours.dataobj) == np.asarray(theirs.dataobj))
        assert agree > 0.98


@pytest.mark.parametrize("channels", [1, 2])
def test_images_of_one_slice_are_slices(tmp_path, channels):
    folder = write_flat(tmp_path / "data", 8, channels)
    task = nd.load_task(str(folder), patches=2)
    assert task.infer.axis == 2 and task.passes == 1
    assert task.input_shape == (channels, 32, 24), "24 to 26 by 19, padded"
    run = nd.search(
        SPACE, str(folder), out=tmp_path / "run", strategy="random", budget="trials=1,epochs=1",
        task_options={"patches": 2}, train_budget="epochs=1", validate=False, quiet=True,
    )  # fmt: skip
    predict(run.path, str(folder / "imagesTr"), tmp_path / "masks", quiet=True)
    with pytest.raises(UsageError) as caught:
        export(run.path, "monai-bundle", tmp_path / "bundle")
    one_sentence(str(caught.value), "two dimensions")
    mask = nibabel.load(tmp_path / "masks" / "flat_01.nii.gz")
    assert mask.shape == nibabel.load(folder / "labelsTr" / "flat_01.nii.gz").shape


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dims": 4}, "dims=4"),
        ({"dims": "flat"}, "dims='flat'"),
        ({"dims": 2, "patch": "16x16x16"}, "patch=16x16x16"),
        ({"patch": "16x16"}, "patch=16x16"),
        ({"patch": "16"}, "patch='16'"),
        ({"patch": "16x15", "dims": 2}, "patch='16x15'"),
    ],
)
def test_bad_options(balls, options, said):
    with pytest.raises(UsageError) as caught:
        nd.load_task(str(balls), **options)
    one_sentence(str(caught.value), said)
