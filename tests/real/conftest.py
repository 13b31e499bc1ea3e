"""Real data sets: found below TESSERA_DATA_ROOT or in ``shared/data`` beside the checkout, else skipped."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The repository's folder."""
    return CHECKOUT


@pytest.fixture(scope="session")
def real_data_root() -> Path:
    """The folder that holds esc10, fsdd, ...; skips the test where there is none."""
    named = os.environ.get("TESSERA_DATA_ROOT", "")
    places = [Path(named)] if named else [CHECKOUT.parent / "shared" / "data"]
    for place in places:
        if place.is_dir():
            return place
    pytest.skip(f"no real data: {places[0]} is not there; set TESSERA_DATA_ROOT")


@pytest.fixture
def real_data(real_data_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same folder, with TESSERA_DATA_ROOT set to it and the manifests of this checkout in reach."""
    monkeypatch.setenv("TESSERA_DATA_ROOT", str(real_data_root))
    monkeypatch.setenv("TESSERA_MANIFESTS", str(CHECKOUT / "data_manifests"))
    return real_data_root
