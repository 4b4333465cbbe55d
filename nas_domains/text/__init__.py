"""Text: classes of texts and of words, parts of a pretrained encoder, head operators, by name."""

from ..core import registry as _registry
from ..core.import_hook import import_behind as _import_behind

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
# Before the task of texts, which takes all JSON lines.
_registry.tasks.register(
    "tags",
    "nas_domains.text.tags:tags",
    "a .conll, .conllu, .bio, .iob or .jsonl of sentences with a tag for each word, or a folder",
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
    "transformers-text",
    "nas_domains.text.export:for_transformers",
    "an encoder of texts as a model of transformers",
)
# The last of the modules that define automatic classes.
_import_behind("transformers.models.auto.modeling_auto", "nas_domains.text.modeling")
