"""Build of the two compiled modules; everything else about the package is in pyproject.toml.

``NAS_DOMAINS_BUILD`` chooses what is compiled:

* ``auto`` (default): the CPU ops, and the CUDA ones if torch was built for CUDA and a CUDA toolkit
  is installed; without a C++ compiler or Python's headers nothing, and the package runs on its
  PyTorch reference.
* ``0``: nothing.  ``cpu``: the CPU ops or an error.  ``cuda``: CPU and CUDA ops or an error.

``NAS_DOMAINS_SANITIZE=1`` adds the address and undefined-behaviour sanitizers.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from glob import glob

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

# Oldest torch whose stable ABI the ops use; the built `_C` then loads in every later one.
TORCH_TARGET_VERSION = "0x020b000000000000"  # 2.11

CXX_FLAGS = [
    "-std=c++20",
    "-O3",
    "-g1",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",  # torch's own headers
    "-Wno-psabi",
    "-pthread",
]
# Without contraction every instruction set rounds alike, so a result does not depend on the
# machine.
OP_FLAGS = ["-ffp-contract=off", f"-DTORCH_TARGET_VERSION={TORCH_TARGET_VERSION}", "-Icsrc"]
# Checks of addresses are calls, and those of null, offset and alignment are given up: inlined into
# the unrolled kernels they take long to compile.
SANITIZE_FLAGS = [
    "-O1",
    "-fsanitize=address,undefined",
    "-fno-sanitize=vptr,null,pointer-overflow,alignment",
    "-fno-sanitize-recover=undefined",
    "-fno-omit-frame-pointer",
    "--param=asan-instrumentation-with-call-threshold=0",
]


def requested():
    """Returns the checked value of NAS_DOMAINS_BUILD."""
    value = os.environ.get("NAS_DOMAINS_BUILD", "auto")
    if value not in ("auto", "0", "cpu", "cuda"):
        sys.exit(f"NAS_DOMAINS_BUILD is {value!r}; set it to auto, 0, cpu or cuda.")
    return value


def lacking():
    """Returns what compiling needs and this machine lacks, with its remedy, or None."""
    if shutil.which(os.environ.get("CXX", "c++").split()[0]) is None:
        return "C++ compiler", "install one or set CXX"
    if not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")):
        return "Python.h", "install the headers of this Python (such as python3-dev)"
    return None


def refuse(sentence):
    """Returns a build_ext that stops with one sentence, so that metadata and sdist still work."""

    class Refuse(build_ext):
        def run(self):
            sys.exit(sentence)

    return Refuse


def sampler_extension(extra):
    import pybind11

    return Extension(
        "nas_domains._sampler",
        sorted(glob("csrc/sampler/*.cpp")),
        include_dirs=[pybind11.get_include()],
        depends=glob("csrc/sampler/*.h"),
        extra_compile_args=CXX_FLAGS + extra,
        extra_link_args=extra,
        language="c++",
    )


def toolkit_version(home):
    """Returns the version (major, minor) of a CUDA toolkit's nvcc; None where there is none."""
    nvcc = os.path.join(home or "", "bin", "nvcc")
    if not home or not os.path.exists(nvcc):
        return None
    text = subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout
    found = re.search(r"release (\d+)\.(\d+)", text)
    return found and (int(found[1]), int(found[2]))


def op_extension(build, extra):
    import torch
    from torch.utils.cpp_extension import CUDA_HOME, CppExtension, CUDAExtension

    cuda_sources = sorted(glob("csrc/cuda/*.cu"))
    toolkit = toolkit_version(CUDA_HOME)
    major = (torch.version.cuda or "").split(".")[0]
    has_cuda = bool(major) and toolkit is not None and toolkit[0] == int(major)
    if not has_cuda and (build == "cuda" or major):
        needs = (
            f"needs a torch built for CUDA and a CUDA toolkit of the same major version (found "
            f"torch {torch.__version__}, and in CUDA_HOME={CUDA_HOME} nvcc "
            f"{'.'.join(map(str, toolkit)) if toolkit else None})"
        )
        if build == "cuda":
            sys.exit(f"NAS_DOMAINS_BUILD=cuda {needs}; install both or use cpu.")
        if build == "auto":
            print(f"nas_domains: the CPU kernels only, as CUDA {needs}.", file=sys.stderr)
    if build == "cpu" or not has_cuda:
        cuda_sources = []
    # Left to itself torch asks the GPUs that it sees, and fails where there is none. Later ones
    # run what an earlier one of their generation does, or compile it from PTX.
    blackwell = toolkit is not None and toolkit >= (12, 8)
    os.environ.setdefault(
        "TORCH_CUDA_ARCH_LIST", "8.0;9.0;10.0+PTX" if blackwell else "8.0;9.0+PTX"
    )
    flags = CXX_FLAGS + OP_FLAGS + extra
    return (CUDAExtension if cuda_sources else CppExtension)(
        "nas_domains._C",
        [*sorted(glob("csrc/*.cpp")), *sorted(glob("csrc/cpu/*.cpp")), *cuda_sources],
        depends=[f for f in glob("csrc/**/*.*", recursive=True) if f.endswith(("h", "inl"))],
        extra_compile_args={
            "cxx": flags,
            "nvcc": ["-std=c++20", "-O3", "-lineinfo", "-DUSE_CUDA", *OP_FLAGS[1:]],
        },
        extra_link_args=extra,
        py_limited_api=True,
    )


def extensions():
    """Returns (ext_modules, cmdclass) for the requested build."""
    build = requested()
    if build == "0":
        return [], {}
    lack = lacking()
    if lack is not None:
        what, remedy = lack
        if build != "auto":
            sys.exit(f"NAS_DOMAINS_BUILD={build} finds no {what}; {remedy}.")
        # pip hides what a build prints unless asked; `nas-domains doctor` says the same later.
        print(
            f"nas_domains: no {what} found, so nothing is compiled and every op runs on its "
            f"slower PyTorch reference; {remedy} and reinstall for the native kernels.",
            file=sys.stderr,
        )
        return [], {}
    extra = SANITIZE_FLAGS if os.environ.get("NAS_DOMAINS_SANITIZE") == "1" else []
    try:
        from torch.utils.cpp_extension import BuildExtension
    except ImportError:
        sentence = (
            "nas_domains compiles against your torch, which pip's isolated build cannot see: "
            "install torch and use `pip install --no-build-isolation`, or set NAS_DOMAINS_BUILD=0 "
            "for the uncompiled package."
        )
        # A placeholder keeps the wheel marked as compiled, so that build_ext is reached and
        # refuses.
        return [Extension("nas_domains._C", ["csrc/module.cpp"])], {"build_ext": refuse(sentence)}
    return [op_extension(build, extra), sampler_extension(extra)], {"build_ext": BuildExtension}


ext_modules, cmdclass = extensions()
setup(
    packages=[*find_packages(include=["nas_domains", "nas_domains.*"]), "nas_domains.kernels"],
    package_dir={"nas_domains.kernels": "kernels"},
    package_data={"nas_domains": ["py.typed"], "nas_domains.report": ["*.html"]},
    ext_modules=ext_modules,
    cmdclass=cmdclass,
)
