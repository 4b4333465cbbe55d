"""What domains and exports share that talk to transformers."""

from collections.abc import Callable, Mapping, Sequence
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


def labels_of(classes: Sequence[str], outputs: int) -> dict[str, Any]:
    """The fields of a configuration of transformers that name the classes.

    Args:
        classes: Their names; numbers where there are none.
        outputs: Size of the network's output.
    """
    names = list(classes) or [str(i) for i in range(outputs)]
    return {"id2label": dict(enumerate(names)), "label2id": {n: i for i, n in enumerate(names)}}


def in_order(config: Mapping[str, Any]) -> bool:
    """Whether the classes of a configuration are in the order that tasks have, or have no names.

    Args:
        config: With ``id2label``, as transformers has it in memory.
    """
    names = [str(name) for _, name in sorted((config.get("id2label") or {}).items())]
    if all(name == f"LABEL_{i}" for i, name in enumerate(names)):
        return True
    numbers = all(name.isdecimal() for name in names)
    return names == sorted(names, key=int if numbers else str)


class quiet_transformers:  # noqa: N801 - used as a context
    """Keeps transformers' chatter off the console within a block."""

    def __enter__(self) -> None:
        from transformers.utils import logging

        self.level = logging.get_verbosity()
        logging.set_verbosity_error()
        self.bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        from transformers.utils import logging

        logging.set_verbosity(self.level)
        if self.bars:
            logging.enable_progress_bar()
