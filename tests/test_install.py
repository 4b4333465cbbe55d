"""Installing the package: wheel, sdist, with and without compiler and pip's isolation."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest
import torch

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "c++").split()[0]) is None
    or not Path(sysconfig.get_path("include"), "Python.h").exists(),
    reason="compiling needs a C++ compiler and Python.h",
)

USE = """
import torch, nas_domains
from nas_domains import ops
print(nas_domains.__file__)
print(ops.weighted_sum([torch.ones(3), torch.ones(3)], torch.ones(2)).tolist())
print(ops.active("cpu")["weighted_sum_fwd"])
print(nas_domains.__version__)
"""

TRIAL = """
#include "../common.h"

__global__ void trial(float* x) { x[threadIdx.x] += 1; }

void launch(nas::Tensor x) { trial<<<1, 32>>>(nas::mutable_data<float>(x)); }
"""

HEADLESS = """
import sysconfig
path = sysconfig.get_path
sysconfig.get_path = lambda name, *a, **k: "/nowhere" if name == "include" else path(name, *a, **k)
"""


def run(command, cwd, env=None, check=True):
    ours = ("NAS_DOMAINS_", "PYTHONPATH")
    full = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=full | (env or {}),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout[-4000:]
    return done


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the tracked files, so that no build product of the checkout is found."""
    listed = run(["git", "ls-files", "-z", "--cached"], ROOT).stdout
    target = tmp_path_factory.mktemp("source")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target


@pytest.fixture
def venv(tmp_path):
    """An empty environment that sees the packages of this one, except nas_domains itself."""
    run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], tmp_path)
    python = tmp_path / "venv/bin/python"
    home = run([python, "-c", "import site; print(site.getsitepackages()[0])"], tmp_path)
    ours = Path(home.stdout.strip())
    theirs = tmp_path / "seen"
    theirs.mkdir()
    for path in Path(pytest.__file__).parents[1].iterdir():
        if "nas_domains" not in path.name and path.suffix != ".pth":
            (theirs / path.name).symlink_to(path)
    (ours / "seen.pth").write_text(str(theirs))
    return python


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """(sdist, wheel), the wheel built from the sdist."""
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source], out)
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


def pip(venv, *arguments, env=None, check=True):
    """Runs this environment's pip on the new one."""
    command = [sys.executable, "-m", "pip", "--python", venv, "install", "--no-deps", *arguments]
    return run(command, venv.parent, env, check)


def use(venv):
    """Path, result, backend and version that the package in the new environment reports."""
    path, result, backend, version = run([venv, "-c", USE], venv.parent).stdout.split("\n")[-5:-1]
    assert Path(path).is_relative_to(venv.parents[1]) and not path.startswith(str(ROOT))
    assert result == "[2.0, 2.0, 2.0]"
    return backend, version


@needs_compiler
def test_sdist_holds_the_sources(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert "LICENSE" in names
    for kind in ("csrc", "kernels"):
        tracked = run(["git", "ls-files", kind], ROOT).stdout.split()
        assert tracked and set(tracked) <= names


@needs_compiler
def test_wheel_says_what_it_is_and_works(built, venv):
    wheel = built[1]
    # _C would fit every Python from 3.10, but _sampler fits only the one it was built for.
    tag = f"cp{sys.version_info[0]}{sys.version_info[1]}"
    assert f"-{tag}-{tag}-" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    assert "nas_domains/_C.abi3.so" in names and "nas_domains/kernels/weighted_sum.py" in names
    assert any(name.startswith("nas_domains/_sampler.") for name in names)
    assert {"nas_domains/py.typed", "nas_domains/report/template.html"} <= set(names)
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    assert not any(name.startswith(("kernels/", "tests/", "csrc/")) for name in names)
    pip(venv, wheel)
    backend, version = use(venv)
    assert backend == "native" and f"-{version}-" in wheel.name
    check = "from nas_domains._sampler import PathSampler; print(PathSampler([[1, 2]]).count())"
    assert run([venv, "-c", check], venv.parent).stdout.strip() == "2"


def test_build_0_installs_the_reference(source, venv):
    pip(venv, "--no-build-isolation", source, env={"NAS_DOMAINS_BUILD": "0"})
    assert use(venv)[0] == "reference"


@needs_compiler
def test_isolated_build_fails_in_one_sentence(source, venv):
    done = pip(venv, source, check=False)
    assert done.returncode != 0
    sentence = [line.strip() for line in done.stdout.split("\n") if "isolated build" in line]
    assert len(sentence) == 1 and sentence[0].startswith("nas_domains compiles against your torch")
    assert "pip install --no-build-isolation" in sentence[0]
    assert "NAS_DOMAINS_BUILD=0" in sentence[0]
    assert "Traceback" not in done.stdout


def test_without_compiler(source, venv):
    env = {"CXX": "no-such-compiler"}
    done = pip(venv, "--no-build-isolation", "-v", source, env=env)
    said = [line for line in done.stdout.split("\n") if "no C++ compiler found" in line]
    assert said and "reference" in said[0]
    assert use(venv)[0] == "reference"
    env["NAS_DOMAINS_BUILD"] = "cpu"
    done = pip(venv, "--no-build-isolation", source, env=env, check=False)
    sentence = "NAS_DOMAINS_BUILD=cpu finds no C++ compiler; install one or set CXX."
    assert done.returncode != 0 and sentence in done.stdout


@needs_compiler
def test_without_python_headers(source, venv):
    """A Python without its headers, as Debian's is without python3-dev."""
    (site,) = venv.parents[1].glob("lib/python*/site-packages")
    (site / "headless.pth").write_text("import headless")
    (site / "headless.py").write_text(HEADLESS)
    done = pip(venv, "--no-build-isolation", "-v", source)
    assert "nas_domains: no Python.h found, so nothing is compiled" in done.stdout
    assert use(venv)[0] == "reference"
    env = {"NAS_DOMAINS_BUILD": "cpu"}
    done = pip(venv, "--no-build-isolation", source, env=env, check=False)
    assert done.returncode != 0 and "NAS_DOMAINS_BUILD=cpu finds no Python.h" in done.stdout


@needs_compiler
def test_cuda_asked_for_and_no_toolkit(source, venv, tmp_path):
    env = {"NAS_DOMAINS_BUILD": "cuda", "CUDA_HOME": str(tmp_path)}
    done = pip(venv, "--no-build-isolation", source, env=env, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout
    assert "NAS_DOMAINS_BUILD=cuda needs a torch built for CUDA and a CUDA toolkit" in done.stdout
    assert f"found torch {torch.__version__}" in done.stdout


@needs_compiler
@pytest.mark.skipif(
    shutil.which("cmake") is None or shutil.which("ninja") is None,
    reason="the developer build needs cmake and ninja",
)
def test_developer_build(source, tmp_path):
    """CMake finds .venv by itself, and where nvcc is present it compiles a .cu without a GPU."""
    tree = tmp_path / "tree"
    shutil.copytree(source, tree)
    (tree / ".venv").symlink_to(sys.prefix)
    (tree / "csrc/cuda").mkdir(exist_ok=True)
    (tree / "csrc/cuda/trial.cu").write_text(TRIAL)
    build = tree / "build/cmake"
    one = "-DCMAKE_CUDA_ARCHITECTURES=90"
    run(["cmake", "-S", ".", "-B", "build/cmake", "-G", "Ninja", one], tree)
    run(["cmake", "--build", build], tree)
    assert (build / "_C.abi3.so").exists() and list(build.glob("_sampler.*.so"))
    commands = json.loads((build / "compile_commands.json").read_text())
    built = {Path(command["file"]).name for command in commands}
    assert {"module.cpp", "isa.cpp", "path_sampler.cpp"} <= built
    if shutil.which("nvcc"):
        assert "trial.cu" in built and list(build.rglob("trial.cu.o"))


@needs_compiler
def test_code_that_does_not_compile_fails_the_build(source, venv, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(source, broken)
    (broken / "csrc/cpu/isa.cpp").write_text("int x = not_declared;\n")
    done = pip(venv, "--no-build-isolation", broken, check=False)
    assert done.returncode != 0 and "not_declared" in done.stdout


def test_wrong_value_of_build(source, venv):
    env = {"NAS_DOMAINS_BUILD": "gpu"}
    done = pip(venv, "--no-build-isolation", source, env=env, check=False)
    assert done.returncode != 0
    assert "NAS_DOMAINS_BUILD is 'gpu'; set it to auto, 0, cpu or cuda." in done.stdout
