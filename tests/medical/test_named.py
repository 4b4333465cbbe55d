"""Medical data sets by name: fetched from where their libraries say, once, and read."""

import hashlib
import shutil
import sys
import tarfile

import pytest

from nas_domains.core.task import find_loader, load_task
from nas_domains.medical import named
from tests.core.refusal import refused
from tests.data.make import write_npz
from tests.medical import make

apps = pytest.importorskip("monai.apps")


@pytest.fixture(autouse=True)
def home(monkeypatch, tmp_path):
    monkeypatch.setenv("NAS_DOMAINS_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


def digest(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A small data set at the address that MONAI has for one of the Decathlon's."""
    folder = tmp_path / "made" / "Task04_Hippocampus"
    make.write_folder(folder)
    archive = tmp_path / "served.tar"
    with tarfile.open(archive, "w") as file:
        file.add(folder, "Task04_Hippocampus")
    monkeypatch.setitem(apps.DecathlonDataset.resource, "Task04_Hippocampus", archive.as_uri())
    monkeypatch.setitem(apps.DecathlonDataset.md5, "Task04_Hippocampus", digest(archive))
    return archive, folder


def test_a_task_of_the_decathlon_is_fetched_once(served, home):
    archive, folder = served
    assert find_loader("monai:Task04_Hippocampus") is named.monai_named
    task = load_task("monai:Task04_Hippocampus")
    assert task.domain == "medical" and task.preprocess["loader"] == "decathlon"
    assert task.fingerprint() == load_task(str(folder)).fingerprint()
    assert sorted(p.name for p in home.iterdir()) == ["Task04_Hippocampus"]
    archive.unlink()
    assert load_task("monai:Task04_Hippocampus").fingerprint() == task.fingerprint()


def test_what_cannot_be_fetched_is_said(served, home, monkeypatch):
    archive, _ = served
    with refused("monai:Task99_Toe", "Task04_Hippocampus"):
        load_task("monai:Task99_Toe")
    archive.write_bytes(archive.read_bytes()[:-600] + b"x" * 600)
    with refused("monai:Task04_Hippocampus", "cannot be fetched", home):
        load_task("monai:Task04_Hippocampus")
    archive.unlink()
    with refused("monai:Task04_Hippocampus", "cannot be fetched"):
        load_task("monai:Task04_Hippocampus")
    assert not any(home.iterdir())
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with refused("pip install medmnist"):
        named.medmnist_file("breastmnist")


def test_medmnist_is_fetched_by_name_and_size(home, monkeypatch, tmp_path):
    pytest.importorskip("medmnist.info")
    info = sys.modules["medmnist.info"].INFO
    for ending in ("", "_64"):
        file = tmp_path / f"served{ending}.npz"
        write_npz(file)
        monkeypatch.setitem(info["breastmnist"], f"url{ending}", file.as_uri())
        monkeypatch.setitem(info["breastmnist"], f"MD5{ending}", digest(file))
    for source in ("medmnist:breastmnist", "medmnist:breastmnist:64"):
        assert find_loader(source) is named.medmnist_named
        assert load_task(source).preprocess["loader"] == "medmnist"
    assert sorted(p.name for p in home.iterdir()) == ["breastmnist.npz", "breastmnist_64.npz"]
    assert load_task("medmnist:breastmnist:28").name == "breastmnist"
    shutil.rmtree(home)
    for source, said in (("medmnist:toe", "breastmnist"), ("medmnist:breastmnist:9", "28, 64")):
        with refused(source, said):
            load_task(source)
