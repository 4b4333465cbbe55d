"""What a domain gives to the export that hands a network back to transformers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class HandBack:
    """A network as a model of transformers.

    Attributes:
        model: The model, which has ``save_pretrained``.
        loader: The automatic class that loads it again.
        beside: Writes what else belongs into its folder, such as a tokenizer.
        difference: (the loaded model) -> its largest difference from the network, relative to the
            largest output.
    """

    model: Any
    loader: Any
    beside: Callable[[Path], None]
    difference: Callable[[Any], float]
