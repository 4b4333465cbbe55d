"""Features of architectures."""

import math
from typing import Any

import numpy as np
import pytest

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.predictors.features import features
from nas_domains.vision.spaces import nasbench201
from tests.make import one_sentence

SPACE = nasbench201()
SOME = SPACE.sample(5)


def test_encodings_and_proxies_stand_side_by_side() -> None:
    proxies = [{"b": float(i), "a": None if i == 2 else -1.0} for i in range(5)]
    x = features(SPACE, SOME, encodings=("one-hot", "path"), proxies=proxies)
    one_hot = np.array([SPACE.encode(a) for a in SOME])
    path = np.array([SPACE.encode(a, "path") for a in SOME])
    assert x.shape == (5, one_hot.shape[1] + path.shape[1] + 2)
    assert np.array_equal(x[:, :-2], np.concatenate([one_hot, path], 1))
    # By name, whatever the order of the scores.
    assert x[:, -2].tolist() == [-1, -1, -math.inf, -1, -1]
    assert x[:, -1].tolist() == [0, 1, 2, 3, 4]
    reordered = [dict(sorted(p.items())) for p in proxies]
    same = features(SPACE, SOME, encodings=("one-hot", "path"), proxies=reordered)
    assert np.array_equal(x, same)
    assert np.array_equal(features(SPACE, SOME, encodings=(), proxies=proxies), x[:, -2:])


BAD: list[tuple[dict[str, Any], str]] = [
    ({"encodings": ()}, "one-hot"),
    ({"encodings": ("one",)}, "'one'"),
    ({"proxies": [{"a": 1.0}] * 4}, "5 architectures"),
    ({"proxies": [{"a": 1.0}] * 4 + [{"b": 1.0}]}, "same proxies"),
]


@pytest.mark.parametrize("options, named", BAD)
def test_bad_input_is_named(options: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError) as error:
        features(SPACE, SOME, **options)
    one_sentence(str(error.value), named)
