"""One colour for each candidate, by its kind: the same in every drawing of a report."""

from collections.abc import Iterable

KINDS = {"conv": 4, "pool": 3, "skip": 1, "none": 1, "other": 5}
"""Kind of candidate -> shades that the page's style sheet has for it."""

_WORDS = {
    "none": ("none", "zero"),
    "skip": ("skip", "identity"),
    "pool": ("pool",),
    "conv": ("conv",),
}


def kind_of(candidate: str) -> str:
    """The kind of a candidate, read off its name."""
    name = candidate.lower()
    for kind, words in _WORDS.items():
        if any(word in name for word in words):
            return kind
    return "other"


def colours(candidates: Iterable[str]) -> dict[str, str]:
    """Candidate -> class of the style sheet, e.g. "conv-2"; shades repeat where they run out."""
    seen: dict[str, int] = {}
    found: dict[str, str] = {}
    for candidate in candidates:
        kind = kind_of(candidate)
        found[candidate] = f"{kind}-{seen.get(kind, 0) % KINDS[kind] + 1}"
        seen[kind] = seen.get(kind, 0) + 1
    return found
