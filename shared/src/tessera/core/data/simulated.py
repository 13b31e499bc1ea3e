"""What all simulators of data sets ask of their caller (no torch)."""

from __future__ import annotations

from tessera.core.errors import ConfigError


def check_request(what: str, *, n: int, seed: int) -> None:
    """Refuse a number of cases or a seed that no simulator can use; ``what`` names the cases."""
    if n < 1 or seed < 0:
        raise ConfigError(
            f"cannot simulate these {what}", found=f"n={n}, seed={seed}", expected="n >= 1, seed >= 0"
        )
