"""The calibration plot."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nas_domains.core.errors import UsageError
from nas_domains.evaluation.predictors.quality import judge
from nas_domains.report.calibration import plot_calibration
from tests.make import one_sentence


def test_it_draws_a_line_for_each_predictor(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mean = rng.standard_normal(50)
    quality = judge(mean, np.full(50, 0.2), mean + rng.standard_normal(50))
    plot_calibration(tmp_path / "one.png", {"a": quality})
    plot_calibration(tmp_path / "two.png", {"a": quality, "b": judge(mean, np.ones(50), -mean)})
    one, two = (
        np.asarray(Image.open(tmp_path / f"{n}.png").convert("RGB")) for n in ("one", "two")
    )
    assert one.shape == two.shape and not np.array_equal(one, two)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["one.png", "two.png"]


def test_nothing_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        plot_calibration(tmp_path / "none.png", {})
    one_sentence(str(error.value), "one predictor")
