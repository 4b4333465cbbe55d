"""Vocabularies learnt from texts: the same each time, and what words become."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.text.vocabulary import CLS, LEAST, PAD, SEP, SPECIAL, UNKNOWN, encode, learn
from tests.text import make

TEXTS = [text for text, _ in make.texts(80)] + ["Some longer words, wordier words!", "Größe"]


def pieces(vocabulary, text, **options):
    (ids,) = encode(vocabulary, [text], None, options.get("max_length", 40))
    return [vocabulary["tokens"][i] for i in ids]


def test_the_same_texts_give_the_same_vocabulary():
    """Letters and ties come out of hash maps, whose order differs from map to map."""
    found = [json.dumps(learn(TEXTS, 120, True)) for _ in range(4)]
    assert len(set(found)) == 1
    assert found[0] != json.dumps(learn(TEXTS[:40], 120, True))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.lists(st.text(max_size=30), min_size=1, max_size=12),
    st.integers(LEAST, 200),
    st.booleans(),
)
def test_any_texts_have_a_vocabulary_that_fits_and_tokens_in_it(texts, size, lower):
    vocabulary = learn(texts, size, lower)
    tokens = vocabulary["tokens"]
    assert tuple(tokens[:4]) == SPECIAL and len(set(tokens)) == len(tokens) <= size
    for row in encode(vocabulary, texts, None, 9):
        assert row[0] == CLS and row[-1] == SEP and 2 <= len(row) <= 9
        assert PAD not in row and row.count(SEP) == 1 and max(row) < len(tokens)


def test_words_are_their_pieces_and_cases_are_one_where_asked():
    vocabulary = learn(TEXTS, 150, True)
    for text in ("w1 good w2", "longer wordier"):
        found = pieces(vocabulary, text)
        assert "".join(found[1:-1]).replace("##", "") == text.replace(" ", "")
    assert pieces(vocabulary, "GOOD") == pieces(vocabulary, "good") == ["[CLS]", "good", "[SEP]"]
    # Accents go with lower-casing, as in BERT.
    assert "".join(pieces(vocabulary, "größe")[1:-1]).replace("##", "") == "große"
    cased = learn(TEXTS, 150, False)
    assert pieces(cased, "GOOD")[1:-1] == ["[UNK]"] and cased["lower"] is False


def test_letters_that_were_never_seen_are_unknown():
    vocabulary = learn(TEXTS, 120, True)
    (ids,) = encode(vocabulary, ["w1 水"], None, 10)
    assert ids[-2] == UNKNOWN and ids.count(UNKNOWN) == 1


def test_rare_letters_make_room_where_the_vocabulary_is_small():
    many = ["".join(chr(0x4E00 + i) for i in range(j, j + 5)) for j in range(400)] + ["aa ab"] * 50
    tokens = learn(many, LEAST, True)["tokens"]
    assert len(tokens) <= LEAST and {"a", "##a", "##b"} <= set(tokens)


def test_pairs_are_separated_and_the_longer_is_cut_first():
    vocabulary = learn(TEXTS, 120, True)
    (ids,) = encode(vocabulary, ["w1 w1 w1 w1 w1 w1"], ["w2"], 40)
    assert ids.count(SEP) == 2 and ids[-1] == SEP
    (cut,) = encode(vocabulary, ["w1 w1 w1 w1 w1 w1"], ["w2"], len(ids) - 3)
    assert len(cut) == len(ids) - 3 and cut[-2:] == ids[-2:] and cut.count(SEP) == 2


@pytest.mark.parametrize("text", ["[SEP]", "[PAD] [CLS]"])
def test_a_special_token_that_someone_wrote_is_none(text):
    (ids,) = encode(learn(TEXTS, 120, True), [text], None, 20)
    assert {CLS, PAD, SEP} & set(ids[1:-1]) == set()
