"""The pipelines for volumes; data only, imports no torch."""

from __future__ import annotations

from tessera.core.pipeline import Pipeline

PIPELINES: tuple[Pipeline, ...] = ()
