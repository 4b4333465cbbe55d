"""What a network needs to be traced by the exporters of PyTorch."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

from torch import Tensor, nn


class OneInput(nn.Module):
    """Names the one input ``x``, whatever the network calls its own."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        """What the network makes of it."""
        scores: Tensor = self.network(x)
        return scores


@contextlib.contextmanager
def quiet_exporters() -> Iterator[None]:
    """Keeps the exporters' chatter off the console and out of the log within a block."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
