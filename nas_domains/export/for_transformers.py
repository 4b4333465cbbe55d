"""Handing a network back to transformers: a folder that ``AutoModel.from_pretrained`` loads."""

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..core.errors import UsageError
from ..core.hand_back import HandBack, quiet_transformers
from ..core.registry import actions

DOMAINS = "text", "speech", "vision"


def save_folder(
    network: nn.Module, description: Mapping[str, Any], out: Path, tolerance: float
) -> float:
    """Writes a network as ``save_pretrained`` does, with what belongs to it, and loads it again.

    Args:
        network: The plain network of a run.
        description: Of :func:`nas_domains.export.load.load_description`.
        out: The folder; must not be there, or be empty.
        tolerance: Largest difference, relative to the largest output, that it may show.

    Returns:
        The largest relative difference between its outputs and those of the network.

    Raises:
        UsageError: A network that is no encoder, a folder that is not free, or a difference.
    """
    if importlib.util.find_spec("transformers") is None:
        raise UsageError(
            "The format 'transformers' needs transformers: pip install 'nas_domains[text]'."
        )
    found: HandBack | None = None
    for domain in DOMAINS:
        found = found or actions.load(f"transformers-{domain}")(network.eval(), description)
    if found is None:
        raise UsageError(
            "Only encoders that came from transformers can be handed back to it: use --format "
            "onnx."
        )
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{str(out)!r} is there already: choose another --out.")
    made: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
        with quiet_transformers():
            found.model.save_pretrained(made)
            found.beside(made)
            again = found.loader.from_pretrained(made, local_files_only=True)
        difference = found.difference(again.eval())
        if not difference <= tolerance:
            raise UsageError(
                f"The transformers export differs from PyTorch by {difference:.1e} of the largest "
                f"output, more than {tolerance:g}: it was not written."
            )
        made.chmod(0o755)
        if out.exists():
            out.rmdir()
        os.replace(made, out)
    except OSError as error:
        raise UsageError(
            f"Cannot write {str(out)!r} ({error.strerror or error}): choose another --out."
        ) from None
    finally:
        if made is not None:
            shutil.rmtree(made, ignore_errors=True)
    return difference
