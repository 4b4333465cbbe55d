"""What a checkpoint's layers must be to be known here."""

from ..core.errors import UsageError
from .encoder import ACTIVATIONS, EncoderSpec


def check_spec(path: str, spec: EncoderSpec) -> None:
    """Refuses a checkpoint whose layers are not known here.

    Raises:
        UsageError: Heads that do not divide the features, or an unknown activation.
    """
    if spec.heads < 1 or spec.hidden % spec.heads:
        raise UsageError(f"The heads of {path!r} do not divide its hidden size: use another.")
    if spec.activation not in ACTIVATIONS:
        raise UsageError(
            f"{path!r} has the activation {spec.activation!r}: known are "
            f"{', '.join(ACTIVATIONS)}, use another checkpoint."
        )
