"""Text: classification of texts, and the parts of a pretrained encoder as a space, by name."""

from ..core import registry as _registry
from .hook import install as _install_hook

_registry.spaces.register(
    "transformer",
    "nas_domains.text.spaces:transformer",
    "heads and widths of the layers of a pretrained encoder (checkpoint=FOLDER)",
    domain="text",
    extra="text",
    needs=("transformers",),
)
_registry.tasks.register(
    "text",
    "nas_domains.text.tasks:text",
    "a .csv, .tsv or .jsonl of texts (or pairs) and labels, or a folder of such",
    domain="text",
    extra="text",
    needs=("transformers",),
)
_registry.actions.register(
    "export-transformers",
    "nas_domains.text.export:save_folder",
    "a folder that transformers loads",
)
_install_hook()
