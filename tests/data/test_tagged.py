"""Sentences of tagged words: what is read of columns and JSON lines, and what is refused."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nas_domains.data.tagged import Fields, find_tagged, is_tagged, read_tagged
from tests.core.refusal import refused

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP B-ORG
rejects VBZ B-VP O

Peter NNP B-NP B-PER
"""

UNIVERSAL = """# sent_id = 1
1-2\tdu\t_\t_\t_
1\tde\tde\tADP\t_
2\tle\tle\tDET\t_
2.1\tx\tx\tX\t_
3\t#\t#\tSYM\t_

1\tla\tle\tDET\t_
"""


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_columns_are_words_and_tags(tmp_path):
    found = read_tagged(write(tmp_path / "a.conll", CONLL), Fields())
    assert found.words == [["EU", "rejects"], ["Peter"]]
    assert found.tags == [["B-ORG", "O"], ["B-PER"]] and found.lines == [3, 6]
    found = read_tagged(str(tmp_path / "a.conll"), Fields(tag="2"))
    assert found.tags == [["NNP", "VBZ"], ["NNP"]]
    bare = write(tmp_path / "b.bio", "EU\nrejects\n\n\n\nPeter")
    assert read_tagged(bare, Fields(), labelled=False).words == found.words


def test_comments_documents_and_blanks(tmp_path):
    text = "#text\tO\n#id\tO\n\n# id 7 domain=x\n10\u00a0000\tO\n# O\n-DOCSTART- O\n# B-X\nb O\n"
    found = read_tagged(write(tmp_path / "a.conll", text), Fields())
    assert found.words == [["#text", "#id"], ["10\u00a0000", "#"], ["#", "b"]]
    assert found.tags == [["O", "O"], ["O", "O"], ["B-X", "O"]]


def test_universal_dependencies_have_columns_of_their_own(tmp_path):
    found = read_tagged(write(tmp_path / "a.conllu", UNIVERSAL), Fields())
    assert found.words == [["de", "le", "#"], ["la"]]
    assert found.tags == [["ADP", "DET", "SYM"], ["DET"]] and found.lines == [3, 8]


@pytest.mark.parametrize("names", [("tokens", "ner_tags"), ("words", "tags")])
def test_json_lines_hold_lists(names, tmp_path):
    rows = [{names[0]: ["EU", "12"], names[1]: [3, 0]}, {names[0]: [], names[1]: []}]
    text = "\n".join(map(json.dumps, rows))
    found = read_tagged(write(tmp_path / "a.jsonl", text), Fields())
    assert found.words == [["EU", "12"]] and found.tags == [["3", "0"]]


words = st.lists(st.from_regex(r"\A[a-zA-Z0-9#,.-]{1,6}\Z"), min_size=1, max_size=6)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.lists(words, min_size=1, max_size=5), st.sampled_from(["\t", " ", "  "]))
def test_what_is_written_is_read(tmp_path_factory, sentences, blank):
    text = "\n\n".join("\n".join(f"{w}{blank}T{len(w)}" for w in row) for row in sentences)
    path = tmp_path_factory.mktemp("tagged") / "a.iob"
    found = read_tagged(write(path, text), Fields())
    assert found.words == sentences
    assert found.tags == [[f"T{len(w)}" for w in row] for row in sentences]


def test_what_looks_like_tagged_sentences(tmp_path):
    assert is_tagged(write(tmp_path / "a.conll", ""))
    assert is_tagged(write(tmp_path / "a.jsonl", '\n{"tokens": ["a"]}'))
    assert not is_tagged(write(tmp_path / "b.jsonl", '{"text": "a", "label": 1}'))
    assert not is_tagged(write(tmp_path / "d.jsonl", "[" * 100_000))
    assert not is_tagged(write(tmp_path / "e.jsonl", '{"text": "a", "tokens": ["a"]}'))
    assert is_tagged(write(tmp_path / "f.jsonl", '{"any": ["a"], "kind": [1]}'))
    text = '{"body": "a b", "keywords": ["x", "y"], "label": "p"}'
    assert not is_tagged(write(tmp_path / "g.jsonl", text))
    assert not is_tagged(write(tmp_path / "c.jsonl", "{")) and not is_tagged("gone.jsonl")
    assert not is_tagged(write(tmp_path / "a.tsv", "text\n")) and not is_tagged(str(tmp_path))
    write(tmp_path / "train.conll", CONLL)
    assert is_tagged(str(tmp_path)) and find_tagged(str(tmp_path), "val") is None
    write(tmp_path / "dev.jsonl", "")
    assert find_tagged(str(tmp_path), "val") == str(tmp_path / "dev.jsonl")


@pytest.mark.parametrize(
    ("name", "text", "fields", "said"),
    [
        ("a.conll", "", {}, ("a.conll", "no sentences")),
        ("a.conll", "EU\n", {}, ("line 1", "'EU'", "no tag")),
        ("a.conll", "EU O\nb O\n", {"tag": "3"}, ("line 1", "column 3 of 2", "option tag")),
        ("a.conll", "EU O\nb x O\n", {}, ("line 2", "3 columns", "2")),
        ("a.conll", "EU O\n", {"tag": "9" * 5000}, ("from 1",)),
        ("a.jsonl", "[" * 100_000, {}, ("line 1", "JSON object")),
        ("a.jsonl", '{"words": ["\\ud83d"], "tags": [0]}\n', {}, ("line 1", "surrogate")),
        ("a.conll", "EU O\n", {"word": "x"}, ("word='x'", "from 1")),
        ("a.conll", "EU O\n", {"tag": "0"}, ("tag='0'", "from 1")),
        ("a.conllu", "1\tde\tde\t\n", {}, ("line 1", "column 4")),
        ("a.jsonl", "[1]\n", {}, ("line 1", "JSON object")),
        ("a.jsonl", '{"words": ["a"]}\n', {}, ("line 1", "tags", "option tag")),
        ("a.jsonl", '{"x": ["a"]}\n', {}, ("line 1", "tokens or words", "option word")),
        ("a.jsonl", '{"words": ["a"], "tags": []}\n', {}, ("line 1", "0 tags for 1")),
        ("a.jsonl", '{"words": "a", "tags": ["b"]}\n', {}, ("line 1", "'words'", "list")),
        ("a.jsonl", '{"words": ["a", " "], "tags": [0, 1]}\n', {}, ("'words'", "empty")),
        ("a.jsonl", '{"words": ["a"], "tags": [true]}\n', {}, ("'tags'", "list of tags")),
        ("a.txt", "EU O\n", {}, ("a.txt", ".conll")),
    ],
)
def test_bad_files_are_refused(name, text, fields, said, tmp_path):
    with refused(*said):
        read_tagged(write(tmp_path / name, text), Fields(**fields))


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with refused("gone.conll", "No such file"):
        read_tagged(str(tmp_path / "gone.conll"), Fields())
    (tmp_path / "a.conll").write_bytes(b"\xff\xfe\x00 O\n")
    with refused("a.conll", "UTF-8"):
        read_tagged(str(tmp_path / "a.conll"), Fields())
    (tmp_path / "b.conll").mkdir()
    with refused("b.conll", "folder"):
        read_tagged(str(tmp_path / "b.conll"), Fields())
