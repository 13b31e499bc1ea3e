"""Every file below a folder, for readers that find cases without a manifest (no torch)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

_log = logging.getLogger(__name__)


def walk_files(folder: Path) -> Iterator[Path]:
    """Files in a fixed order, links to folders followed once; folders that cannot be listed are logged."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(folder, onerror=_not_listed, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def _not_listed(error: OSError) -> None:
    _log.warning("the folder %s is left out: %s", error.filename, error.strerror)
