"""Which part of an input made a network answer as it did."""

from tessera.core.explain.explanation import Explanation, GradCam, Occlusion, PlacesMaps, explain
from tessera.core.explain.grad_cam import grad_cam
from tessera.core.explain.occlusion import occlusion
from tessera.core.explain.scoring import Activation, log_odds

__all__ = [
    "Activation",
    "Explanation",
    "GradCam",
    "Occlusion",
    "PlacesMaps",
    "explain",
    "grad_cam",
    "log_odds",
    "occlusion",
]
