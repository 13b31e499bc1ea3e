"""The shared core of Tessera's pipelines.

``tessera.core.load(bundle).predict(path)`` is the door from Python.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tessera.core.inference.api import Predictor

__version__ = "0.1.0"
__all__ = ["__version__", "load"]


def load(bundle: str | Path, *, device: str = "auto") -> Predictor:
    """Open a bundle for prediction; ``device`` is auto, cpu or cuda."""
    from tessera.core.inference.api import Predictor

    return Predictor.from_bundle(Path(bundle), device=device)
