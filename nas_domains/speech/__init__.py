"""Speech: classification of recordings, a keyword-spotting space, a hand-made network, by name."""

from ..core import registry as _registry
from ..core.import_hook import import_behind as _import_behind

_registry.spaces.register(
    "keyword",
    "nas_domains.speech.keyword:keyword",
    "elastic stages for log-mel, along time or bands, broadcast or not (Kim et al. 2021)",
    domain="speech",
)

_registry.spaces.register(
    "speech-transformer",
    "nas_domains.speech.spaces:speech_transformer",
    "heads and widths of the layers of a pretrained wav2vec 2.0 or HuBERT (checkpoint=FOLDER)",
    domain="speech",
    extra="speech",
    needs=("transformers",),
)

_registry.spaces.register(
    "conformer",
    "nas_domains.speech.conformer:conformer",
    "conformers: the operator of each head, the width of feed-forward blocks (Gulati et al. 2020)",
    domain="speech",
)

_registry.tasks.register(
    "recordings",
    "nas_domains.speech.tasks:recordings",
    "wav or flac files: a sub-folder a class, LABEL_SPEAKER_TAKE.wav, or a CSV",
    domain="speech",
    extra="speech",
    needs=("soundfile", "transformers"),
)

_registry.baselines.register(
    "speech",
    "nas_domains.speech.baselines:baselines",
    "a CNN of four convolutions on log-mel",
    domain="speech",
)

_registry.actions.register(
    "transformers-speech",
    "nas_domains.speech.export:for_transformers",
    "an encoder of recordings as a model of transformers",
)

# The last of the modules that define automatic classes.
_import_behind("transformers.models.auto.modeling_auto", "nas_domains.speech.modeling")
