"""A vocabulary of word pieces that is learnt from the training texts."""

import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
"""The first tokens of each vocabulary."""

PAD, UNKNOWN, CLS, SEP = range(4)

LEAST = 64
"""Tokens that a vocabulary has at least."""


def learn(texts: Iterable[str], size: int, lower: bool) -> dict[str, Any]:
    """Learns word pieces (Schuster & Nakajima 2012; Wu et al. 2016, arXiv 1609.08144).

    Words are split as BERT does. The same texts give the same vocabulary.

    Args:
        texts: Training texts, and no others.
        size: Tokens at most, :data:`LEAST` or more.
        lower: Whether upper and lower case are one.

    Returns:
        What :func:`encode` takes, JSON-able: ``tokens`` in the order of their numbers, ``lower``.
    """
    from tokenizers import Tokenizer, models, trainers

    normalizer, splitter = _parts(lower)
    found: list[list[str]] = [
        [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))]
        for text in texts
    ]
    counts = Counter(letter for words in found for word in words for letter in word)
    # A letter takes two tokens, one at the start of a word and one inside.
    most = (size - len(SPECIAL)) // 4
    letters = sorted(sorted(counts, key=lambda letter: (-counts[letter], letter))[:most])
    known = set(letters)
    rows = (" ".join(word for word in words if known.issuperset(word)) for words in found)
    trained = Tokenizer(models.WordPiece(unk_token=SPECIAL[UNKNOWN]))
    trained.normalizer, trained.pre_tokenizer = normalizer, splitter
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=2,
        limit_alphabet=len(letters),
        show_progress=False,
        # The trainer numbers letters in the order of a hash map, and breaks ties by numbers:
        # named here, they are numbered alike each time.
        special_tokens=[*SPECIAL, *letters, *(f"##{letter}" for letter in letters)],
    )
    _quiet()
    trained.train_from_iterator(rows, trainer)
    numbers = trained.get_vocab()
    return {"tokens": sorted(numbers, key=lambda token: numbers[token]), "lower": lower}


def encode(
    vocabulary: Mapping[str, Any],
    texts: Sequence[str],
    pairs: Sequence[str] | None,
    max_length: int,
) -> list[list[int]]:
    """Tokens of texts, ``[CLS] text [SEP]``, or of pairs, ``[CLS] text [SEP] pair [SEP]``.

    A "[SEP]" that someone wrote is no separator.

    Args:
        vocabulary: What :func:`learn` returned.
        texts: The texts.
        pairs: Their second texts, or None.
        max_length: Tokens at which they are cut, the longer of a pair first.
    """
    given = list(texts) if pairs is None else list(zip(texts, pairs, strict=True))
    return [list(row.ids) for row in tokenizer(vocabulary, max_length).encode_batch(given)]


def tokenizer(vocabulary: Mapping[str, Any], max_length: int) -> Any:
    """What :func:`encode` uses, of the library tokenizers, for many calls."""
    from tokenizers import Tokenizer, models, processors

    numbers = {token: number for number, token in enumerate(vocabulary["tokens"])}
    made = Tokenizer(models.WordPiece(numbers, unk_token=SPECIAL[UNKNOWN]))
    made.normalizer, made.pre_tokenizer = _parts(vocabulary["lower"])
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(SPECIAL[i], i) for i in (CLS, SEP)],
    )
    made.enable_truncation(max_length)
    _quiet()
    return made


def _parts(lower: bool) -> tuple[Any, Any]:
    """What cleans texts, and what splits them into words."""
    from tokenizers import normalizers, pre_tokenizers

    return normalizers.BertNormalizer(lowercase=lower), pre_tokenizers.BertPreTokenizer()


def _quiet() -> None:
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
