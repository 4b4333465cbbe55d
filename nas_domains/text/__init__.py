"""Text: classification of texts, parts of a pretrained encoder and head operators, by name."""

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
_registry.spaces.register(
    "text-heads",
    "nas_domains.text.scratch:text_heads",
    "from scratch: the operator of each head and the feed-forward width of each layer",
    domain="text",
    extra="text",
    needs=("tokenizers",),
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
