"""Times as exact decimals: integer samples survive being written as seconds and read again."""

from __future__ import annotations

import re
from fractions import Fraction

DECIMALS = 9  # tells samples apart up to 500 MHz
_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d{1,2})?")


def seconds_text(seconds: Fraction) -> str:
    """Seconds with nine decimals, rounded from the exact value."""
    unit, below = 10**DECIMALS, seconds.denominator
    whole, rest = divmod((2 * abs(seconds.numerator) * unit + below) // (2 * below), unit)
    return f"{'-' if seconds < 0 else ''}{whole}.{rest:0{DECIMALS}d}"


def parse_number(text: str) -> Fraction:
    """A number with a decimal point or comma; raises ``ValueError`` for anything else, also ``1,234.5``."""
    text = text.strip()
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"'{text}' is no number")
    return Fraction(text.replace(",", "."))


def samples_of(seconds: Fraction, rate_hz: float) -> int:
    """The sample nearest to a time."""
    return round(seconds * Fraction(rate_hz))
