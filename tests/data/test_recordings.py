"""What is made of recordings before they are decoded."""

import pytest

from nas_domains.data.audio import AudioInfo
from nas_domains.data.recordings import describe, usual_seconds


@pytest.mark.parametrize(
    ("lengths", "asked", "why"),
    [
        ([1.0] * 20, None, "95%"),
        ([30.0] * 20, None, "the most that is heard"),
        ([30.0] * 20, 4.0, "as asked"),
    ],
)
def test_the_notes_say_what_decides_the_length(
    lengths: list[float], asked: float | None, why: str
) -> None:
    infos = [AudioInfo(8000, round(8000 * seconds), 1) for seconds in lengths]
    seconds = asked or usual_seconds(infos)
    assert why in describe(infos, 8000, seconds, "as 40 log-mel bands", asked)[0]
