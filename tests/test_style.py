"""Rules that no linter knows: short files, and a docstring in every public module."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {".py", ".cpp", ".cu", ".h", ".cuh", ".inl"}
MOST_LINES = 400


@pytest.fixture(scope="module")
def tracked():
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    files = [ROOT / name for name in listed.split("\0") if Path(name).suffix in SOURCES]
    return [path for path in files if path.exists()]


def test_no_source_file_is_too_long(tracked):
    lengths = {path: len(path.read_text().splitlines()) for path in tracked}
    assert len(lengths) > 20
    long = {str(p.relative_to(ROOT)): n for p, n in lengths.items() if n > MOST_LINES}
    assert not long, f"split these files into things of one job each: {long}"


def test_every_public_module_has_a_docstring(tracked):
    folders = (ROOT / "nas_domains", ROOT / "kernels")
    bare = [
        str(path.relative_to(ROOT))
        for path in tracked
        if path.suffix == ".py"
        and any(path.is_relative_to(folder) for folder in folders)
        and (not path.stem.startswith("_") or path.stem == "__init__")
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not bare
