"""Times as people write them on a command line."""

from __future__ import annotations

import re

from tessera.core.errors import ConfigError

_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """Seconds of ``90``, ``20m``, ``1.5h`` or ``1h30m``."""
    parts = re.findall(r"(\d+(?:\.\d+)?)([smhd]?)", text.strip().lower())
    total = sum(float(number) * _UNITS_S[unit or "s"] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text.strip().lower() or total <= 0:
        raise ConfigError(f"cannot read the time '{text}'", expected="for instance 90s, 20m, 2h or 1h30m")
    return total
