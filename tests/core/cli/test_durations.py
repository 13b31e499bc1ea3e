"""Times as people write them."""

from __future__ import annotations

import pytest

from tessera.core.cli.durations import seconds
from tessera.core.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"), [("90", 90), ("20m", 1200), ("1.5h", 5400), ("1h30m", 5400), ("2D", 172_800)]
)
def test_times_are_read_with_their_units(text: str, expected: float) -> None:
    assert seconds(text) == expected


@pytest.mark.parametrize("text", ["", "m", "20 minutes", "-5m", "0", "5x", "1h-30m"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="for instance"):
        seconds(text)
