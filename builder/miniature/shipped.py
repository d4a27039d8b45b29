"""Where the trained miniature lies that comes with the package."""

from __future__ import annotations

from pathlib import Path

from atlas_db.errors import CaptionerError
from builder.captioner_config import CAPTIONER_FILE

#: The preset's name.
MINIATURE = "miniature"

_WEIGHTS = Path(__file__).parent / "weights"


def shipped_captioner() -> Path:
    """Give the captioner folder of the shipped weights.

    Raises:
        CaptionerError: The package was installed without them.
    """
    if not (_WEIGHTS / CAPTIONER_FILE).is_file():
        raise CaptionerError(
            f"{_WEIGHTS} has no {CAPTIONER_FILE}: the package was installed without the "
            "miniature's weights. Install it again, or train them with `neuron-atlas miniature "
            "train --out DIR` and give that folder."
        )
    return _WEIGHTS
