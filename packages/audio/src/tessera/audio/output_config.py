"""What a person can choose of the outputs of a prediction on recordings (no torch)."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from tessera.core.bundle.card import FALLBACK_THRESHOLD, Calibration, ChosenThreshold
from tessera.core.config import Config
from tessera.core.errors import ConfigError
from tessera.core.run_config import Fraction

NAMED = 5  # unknown classes in an error; the rest are counted
Format = Literal["csv", "raven", "audacity"]


class SoundOutput(Config):
    """Detections: which formats, which classes, and when a score is a detection; and embeddings."""

    formats: tuple[Format, ...] = Field(
        ("csv",), description="csv: detections.csv; raven: selection tables; audacity: label tracks"
    )
    classes: tuple[str, ...] = Field(
        (), description="only these classes: names, or a text file with one a line; empty: all"
    )
    threshold: Fraction | dict[str, Fraction] | None = Field(
        None, description="lowest score of a detection, one for all or one a class; null: the bundle's"
    )
    precision: float | None = Field(
        None, gt=0.0, le=1.0, description="thresholds with this precision on the bundle's validation cases"
    )
    release: Fraction = Field(
        1.0, description="a detection lasts while the score is at least this share of the threshold"
    )
    smooth: int = Field(1, ge=1, le=9999, description="odd number of windows that scores are smoothed over")
    smoothing: Literal["mean", "max"] = Field("mean", description="running mean or running maximum")
    min_duration_s: float = Field(0.0, ge=0.0, description="shortest detection, s")
    max_gap_s: float = Field(0.0, ge=0.0, description="longest gap inside one detection, s")
    embeddings: bool = Field(
        False,
        description="true: embeddings.csv, what the network knows of each recording, and of its windows",
    )

    @field_validator("formats", mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        """Take ``csv,raven`` as a list."""
        return _parts(value) if isinstance(value, str) else value

    @field_validator("classes", mode="before")
    @classmethod
    def _from_file(cls, value: Any) -> Any:
        """Take a text file as its lines, any other text as names between commas."""
        if isinstance(value, int):  # --classes 7
            return [str(value)]
        if isinstance(value, list):
            return [str(name) if type(name) is int else name for name in value]
        if not isinstance(value, str):
            return value
        return _lines(Path(value)) if _is_file(value) else _parts(value)

    @field_validator("formats", "classes")
    @classmethod
    def _each_once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value))

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.smooth % 2 == 0:
            raise ValueError(f"smooth {self.smooth} is even; an odd number has a window in its middle")
        if self.precision is not None and isinstance(self.threshold, float):
            raise ValueError("threshold and precision both say when a score is a detection; give one")
        return self

    def chosen_classes(self, known: Sequence[str]) -> tuple[str, ...]:
        """The classes to look for, in the bundle's order; refuses names that the bundle does not know."""
        _refuse_unknown(self.classes, known, "classes")
        return tuple(name for name in known if name in self.classes or not self.classes)

    def thresholds(self, known: Sequence[str], calibration: Calibration) -> dict[str, ChosenThreshold]:
        """Each class's threshold: given, or that of the precision given, or the bundle's, or 0.5."""
        given = self.threshold if isinstance(self.threshold, dict) else {}
        _refuse_unknown(tuple(given), known, "threshold")
        if isinstance(self.threshold, float):
            given = dict.fromkeys(known, self.threshold)
        wanted = self.precision if self.precision is not None else calibration.precision
        if self.precision is not None and not calibration.curves:
            raise ConfigError(
                "the bundle does not say which thresholds give which precision",
                found=f"precision {self.precision:g}",
                expected="a bundle that was calibrated on at least ten validation cases, one fold of a run",
                hint="give --threshold instead",
            )
        stored = {name: ChosenThreshold(t, None, None, "") for name, t in calibration.thresholds.items()}
        if wanted is not None:
            stored |= calibration.for_precision(wanted)
        guess = ChosenThreshold(FALLBACK_THRESHOLD, None, None, "the bundle has no threshold of this class")
        found = {name: stored.get(name, guess) for name in known}
        return found | {name: ChosenThreshold(t, None, None, "given") for name, t in given.items()}


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # a long list of names is no path
        return False


def _lines(file: Path) -> list[str]:
    """One name a line; blank lines and those that begin with # are left out."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {file}", found=error, expected="a text file in UTF-8") from None
    names = [line.strip() for line in text.splitlines()]
    names = [name for name in names if name and not name.startswith("#")]
    if not names:
        raise ConfigError(f"{file} names no class", expected="one name a line")
    return names


def _refuse_unknown(names: Sequence[str], known: Sequence[str], field: str) -> None:
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    lowered = {name.lower(): name for name in known}
    near = {
        name: [lowered[m] for m in difflib.get_close_matches(name.lower(), lowered, n=3)] for name in unknown
    }
    told = [f"{name} (near: {', '.join(near[name])})" if near[name] else name for name in unknown[:NAMED]]
    more = f" and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
    raise ConfigError(
        f"{field}: the bundle does not know {len(unknown)} of {len(names)} names",
        found=", ".join(told) + more,
        expected=f"some of {len(known)} classes: {', '.join(known[:20])}{', ...' if len(known) > 20 else ''}",
        hint="correct the names; if one is meant as a file, its path is wrong",
    )
