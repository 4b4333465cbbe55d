"""Small recordings on disk, as tests read them."""

from pathlib import Path

import numpy as np
import soundfile

RATE = 8000


def tone(pitch: float, seconds: float = 0.3, seed: int = 0, rate: int = RATE) -> np.ndarray:
    """A tone in some noise, float32 [T]."""
    rng = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = 0.4 * np.sin(2 * np.pi * pitch * time + rng.uniform(0, 6))
    return (wave + rng.normal(0, 0.02, len(time))).astype(np.float32)


def write(
    path: Path,
    pitch: float = 440,
    seconds: float = 0.3,
    seed: int = 0,
    rate: int = RATE,
    channels: int = 1,
    subtype: str | None = None,
) -> str:
    """Writes a tone and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = tone(pitch, seconds, seed, rate)
    soundfile.write(path, np.stack([wave] * channels, 1), rate, subtype=subtype)
    return str(path)


def write_folder(root: Path, classes: tuple[str, ...] = ("high", "low"), n: int = 12) -> str:
    """Writes n tones a class, of 0.2 s to 0.3 s, into root/CLASS; returns the root."""
    for c, label in enumerate(classes):
        for i in range(n):
            write(root / label / f"{i:03d}.wav", 1200 / (c + 1), 0.2 + 0.1 * i / n, 100 * c + i)
    return str(root)


def write_named(
    root: Path,
    labels: tuple[str, ...] = ("0", "1"),
    speakers: tuple[str, ...] = ("ann", "bob", "cleo", "dan"),
    takes: int = 3,
    ending: str = "wav",
) -> str:
    """Writes LABEL_SPEAKER_TAKE files, a tone for each label; returns the root."""
    for c, label in enumerate(labels):
        for s, speaker in enumerate(speakers):
            for take in range(takes):
                path = root / f"{label}_{speaker}_{take}.{ending}"
                write(path, 400 * (c + 1) + 20 * s, 0.2, seed=take)
    return str(root)


def pretrained(family: str = "wav2vec2", norm: str = "group", labels: int = 3):
    """A model of transformers with 2 layers of 16 features, 4 heads and 32 units."""
    import torch
    import transformers as hf

    kinds = {
        "wav2vec2": (hf.Wav2Vec2Config, hf.Wav2Vec2ForSequenceClassification),
        "hubert": (hf.HubertConfig, hf.HubertForSequenceClassification),
    }
    config, model = kinds[family]
    torch.manual_seed(0)
    made = model(
        config(
            hidden_size=16, num_attention_heads=4, num_hidden_layers=2, intermediate_size=32,
            conv_dim=(8, 8), conv_stride=(20, 8), conv_kernel=(40, 12), num_feat_extract_layers=2,
            num_conv_pos_embeddings=4, num_conv_pos_embedding_groups=2, classifier_proj_size=12,
            num_labels=labels, feat_extract_norm=norm, do_stable_layer_norm=norm == "layer",
            hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0,
        )
    ).eval()  # fmt: skip
    with torch.no_grad():
        for parameter in made.parameters():
            # Larger than a fresh model's, so that what differs is seen.
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def checkpoint(folder, family: str = "wav2vec2", norm: str = "group", rate: int = RATE):
    """A folder with a tiny model that hears at a rate; returns the model."""
    import transformers as hf

    made = pretrained(family, norm)
    made.save_pretrained(folder)
    hf.Wav2Vec2FeatureExtractor(sampling_rate=rate).save_pretrained(folder)
    return made


def spectrogram_model(labels: int = 3, frames: int = 60):
    """An AST with 2 layers of 16 features, 4 heads and 32 units, on 16 bands."""
    import torch
    import transformers as hf

    torch.manual_seed(0)
    config = hf.ASTConfig(
        hidden_size=16,
        num_attention_heads=4,
        num_hidden_layers=2,
        intermediate_size=32,
        patch_size=8,
        frequency_stride=4,
        time_stride=6,
        max_length=frames,
        num_mel_bins=16,
        num_labels=labels,
    )
    made = hf.ASTForAudioClassification(config).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            # Larger than a fresh model's, so that what differs is seen.
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return made


def spectrogram_checkpoint(folder: Path, **options):
    """A folder with that model and its feature extractor; returns the model."""
    import transformers as hf

    made = spectrogram_model(**options)
    made.save_pretrained(folder)
    hf.ASTFeatureExtractor(
        num_mel_bins=16, max_length=made.config.max_length, mean=-5.0, std=3.0
    ).save_pretrained(folder)
    return made
