"""What a network's training scans look like, kept in its config to compare other scans with (no torch)."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tessera.core.config import Config

Range = Annotated[tuple[float, float], Field(description="least and greatest of all training scans")]

Triple = Annotated[tuple[Range, ...], Field(min_length=3, max_length=3)]


class SeenValues(Config):
    """Percentiles of a channel's values, as ``scan_facts`` takes them."""

    absolute: bool = Field(
        description="values as stored, as HU are; otherwise each scan's over its own span from low to high"
    )
    low: Range = Field(description="0.5th percentile of a scan")
    median: Range = Field(description="50th percentile of a scan")
    high: Range = Field(description="99.5th percentile of a scan")


class SeenScans(Config):
    """Ranges over the training scans; triples are to the right, the front and the head."""

    spacing_mm: Triple
    extent_mm: Triple = Field(description="voxels times spacing")
    values: tuple[SeenValues, ...] = Field(description="one a channel")
