"""What the exporters of PyTorch are given, and kept from saying."""

import logging
import warnings

import pytest
import torch
from torch import nn

from nas_domains.nn.traced import OneInput, quiet_exporters


class OddlyNamed(nn.Module):
    def forward(self, spectrogram):
        return 2 * spectrogram


def test_the_one_input_is_called_x():
    x = torch.randn(2, 3)
    program = torch.export.export(OneInput(OddlyNamed()), (x,))
    assert [spec.arg.name for spec in program.graph_signature.input_specs] == ["x"]
    assert torch.equal(program.module()(x), 2 * x)


def test_nothing_is_said_and_all_is_as_before(capsys, caplog):
    before = logging.root.manager.disable
    with (
        warnings.catch_warnings(record=True) as heard,
        pytest.raises(ValueError, match="it failed"),
        quiet_exporters(),
    ):
        print("chatter")
        warnings.warn("chatter", stacklevel=1)
        logging.getLogger("exporter").warning("chatter")
        raise ValueError("it failed")
    assert not heard and not caplog.records and not capsys.readouterr().out
    assert logging.root.manager.disable == before
