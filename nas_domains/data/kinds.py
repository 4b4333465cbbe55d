"""Kinds of files that are learned from one by one, told by the endings of their names."""

from dataclasses import dataclass

from .decode import SUFFIXES


@dataclass(frozen=True)
class FileKind:
    """A kind of files.

    Attributes:
        one: What one is called in sentences.
        many: What several are called.
        endings: How their names end, in lower case.
    """

    one: str
    many: str
    endings: tuple[str, ...]

    def matches(self, path: str) -> bool:
        """Whether a name ends as that of this kind."""
        return path.lower().endswith(self.endings)


IMAGES = FileKind("image", "images", SUFFIXES)
RECORDINGS = FileKind("recording", "recordings", (".wav", ".flac"))
