"""Modules that are imported behind others."""

import subprocess
import sys
from pathlib import Path

OLD = """
import sys
sys.path.insert(0, sys.argv[1])
import nas_domains
from transformers.models.auto import modeling_auto
print(modeling_auto.VALUE, "nas_domains.text.modeling" in sys.modules)
"""


def test_an_older_version_of_the_other_package_works_on(tmp_path: Path) -> None:
    """One whose names are others than those that our models are made of."""
    folder = tmp_path / "transformers" / "models" / "auto"
    folder.mkdir(parents=True)
    (tmp_path / "transformers" / "__init__.py").write_text("__version__ = '4.57.0'\n")
    (tmp_path / "transformers" / "models" / "__init__.py").touch()
    (folder / "__init__.py").touch()
    (folder / "modeling_auto.py").write_text("VALUE = 7\n")
    done = subprocess.run(
        [sys.executable, "-c", OLD, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["7", "False"], done.stderr
