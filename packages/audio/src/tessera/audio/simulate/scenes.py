"""Sound scenes with known truth: events in a room, over background noise, at known samples and levels.

A scene is ``level * (background + sum of events)``. The background is stationary with a mean square of 1
before the level is applied. Each event is rendered dry, reverberated, and scaled to its SNR:

    SNR = 10 log10(mean square of the event, echo included, over its active samples
                   / mean square of the background over the scene)   in dB

Active samples are those of the dry source, ``[onset, offset)``; the echo rings on after the offset. Events of
one scene may overlap, also those of one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, Field, model_validator

from tessera.audio.simulate.draws import SOURCES, Parameter
from tessera.audio.simulate.room import (
    COLOURS,
    SLOPE_DB_PER_DECADE,
    Colour,
    add_reverberation,
    coloured_noise,
    gain_for_snr,
    reverberation_tail,
)
from tessera.audio.simulate.sources import Waveform
from tessera.core.config import Config

LONGEST_EVENT = 0.8
"""An event takes at most this part of its scene, so that its onset can vary."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first, found {bounds[0]} before {bounds[1]}")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]


class SceneConfig(Config):
    """What scenes are drawn from; each pair is (lowest, highest), drawn uniformly."""

    sample_rate_hz: int = Field(16000, ge=8000, le=384000, description="samples a second")
    duration_s: float = Field(3.0, ge=0.5, le=3600.0, description="length of a scene, s")
    events_per_scene: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(le=1000)]] = Field(
        (1, 1), description="fewest and most events in a scene"
    )
    snr_db: Range = Field((0.0, 20.0), description="signal-to-noise ratio of an event, dB")
    t60_s: Range = Field((0.1, 0.6), description="reverberation time, s; 0 means no room")
    direct_to_reverberant_db: Range = Field((0.0, 15.0), description="direct sound above the echo, dB")
    level_dbfs: Range = Field((-20.0, -3.0), description="highest peak of a scene, dB re full scale")
    classes: tuple[str, ...] = Field(tuple(SOURCES), min_length=1, description="labels to draw from")
    colours: tuple[Colour, ...] = Field(COLOURS, description="backgrounds to draw from; none means silence")

    @model_validator(mode="after")
    def _check(self) -> Self:
        unknown = sorted(set(self.classes) - set(SOURCES))
        if unknown:
            raise ValueError(f"unknown classes {unknown}, choose from {sorted(SOURCES)}")
        if len(set(self.classes)) != len(self.classes):
            raise ValueError(f"a class stands twice in {list(self.classes)}")
        if self.events_per_scene[0] > self.events_per_scene[1]:
            raise ValueError(f"events_per_scene: the lower bound comes first, found {self.events_per_scene}")
        if self.t60_s[0] < 0:
            raise ValueError(f"t60_s: a time is not negative, found {self.t60_s[0]}")
        if self.level_dbfs[1] > 0:
            raise ValueError(f"level_dbfs: above 0 dBFS the scene would clip, found {self.level_dbfs[1]}")
        return self


@dataclass(frozen=True, kw_only=True)
class Event:
    """One sound of a scene: it is active in samples ``[onset_sample, offset_sample)``.

    Args:
        label: Class of the source.
        onset_sample: First active sample; the event's own waveform is zero before it.
        offset_sample: One past the last active sample of the dry source.
        snr_db: Signal-to-noise ratio over the active samples; infinite over a silent background.
        parameters: What the source was rendered from, see its renderer.
    """

    label: str
    onset_sample: int
    offset_sample: int
    snr_db: float
    parameters: Mapping[str, Parameter]


@dataclass(frozen=True, kw_only=True)
class Scene:
    """A waveform with its truth.

    Args:
        waveform: The mixture (T,), full scale is 1.
        background: Its noise alone (T,), at the level it has in the mixture.
        sample_rate_hz: Samples a second.
        events: In order of onset.
        colour: Of the background, None for silence.
        t60_s: Reverberation time, 0 for none.
        direct_to_reverberant_db: Direct sound above the echo.
        level_dbfs: Peak of the waveform re full scale.
    """

    waveform: NDArray[np.float32]
    background: NDArray[np.float32]
    sample_rate_hz: int
    events: tuple[Event, ...]
    colour: Colour | None
    t60_s: float
    direct_to_reverberant_db: float
    level_dbfs: float

    @property
    def label(self) -> str:
        """The events' distinct labels, sorted and joined by ``|``."""
        return "|".join(sorted({event.label for event in self.events}))


def simulate_scene(rng: np.random.Generator, *, config: SceneConfig, label: str | None = None) -> Scene:
    """Draw and render one scene; with ``label`` the first event drawn is of that class.

    Args:
        rng: Source of every draw.
        config: Ranges.
        label: Class of the first event drawn; None draws it like the others.
    """
    samples = round(config.duration_s * config.sample_rate_hz)
    colour = config.colours[rng.integers(len(config.colours))] if config.colours else None
    t60_s, direct_db = _uniform(rng, config.t60_s), _uniform(rng, config.direct_to_reverberant_db)
    level_dbfs = _uniform(rng, config.level_dbfs)
    count = int(rng.integers(config.events_per_scene[0], config.events_per_scene[1] + 1))
    labels = [config.classes[index] for index in rng.integers(len(config.classes), size=count)]
    if label is not None:
        labels[0] = label

    background = np.zeros(samples)
    if colour is not None:
        slope = SLOPE_DB_PER_DECADE[colour]
        background = coloured_noise(
            rng, samples=samples, sample_rate_hz=config.sample_rate_hz, slope_db_per_decade=slope
        )
    # One room for all events of a scene: they share the tail.
    tail = np.zeros(0)
    if t60_s > 0:
        tail = reverberation_tail(rng, sample_rate_hz=config.sample_rate_hz, t60_s=t60_s)
    mixture, events = background.copy(), []
    for name in labels:
        event, wet = _draw_event(rng, name, tail, direct_db, config=config, silent=colour is None)
        kept = wet[: samples - event.onset_sample]
        mixture[event.onset_sample : event.onset_sample + kept.size] += kept
        events.append(event)
    level = 10 ** (level_dbfs / 20) / np.max(np.abs(mixture))
    return Scene(
        waveform=(level * mixture).astype(np.float32),
        background=(level * background).astype(np.float32),
        sample_rate_hz=config.sample_rate_hz,
        events=tuple(
            sorted(events, key=lambda event: (event.onset_sample, event.offset_sample, event.label))
        ),
        colour=colour,
        t60_s=t60_s,
        direct_to_reverberant_db=direct_db,
        level_dbfs=level_dbfs,
    )


def _draw_event(
    rng: np.random.Generator,
    label: str,
    tail: Waveform,
    direct_to_reverberant_db: float,
    *,
    config: SceneConfig,
    silent: bool,
) -> tuple[Event, Waveform]:
    """An event and its reverberant waveform, scaled against a background of mean square 1."""
    rate = config.sample_rate_hz
    kind = SOURCES[label]
    parameters = kind.draw(rng, sample_rate_hz=rate, longest_s=LONGEST_EVENT * config.duration_s)
    dry = kind.render(rng, sample_rate_hz=rate, **parameters)
    snr_db = _uniform(rng, config.snr_db)
    onset = int(rng.integers(0, round(config.duration_s * rate) - dry.size + 1))
    wet = dry
    if tail.size:
        wet = add_reverberation(dry, tail, direct_to_reverberant_db=direct_to_reverberant_db)
    wet = wet * gain_for_snr(wet[: dry.size], noise_power=1.0, snr_db=snr_db)
    event = Event(
        label=label,
        onset_sample=onset,
        offset_sample=onset + dry.size,
        snr_db=float("inf") if silent else snr_db,
        parameters=parameters,
    )
    return event, wet


def _uniform(rng: np.random.Generator, bounds: tuple[float, float]) -> float:
    return float(rng.uniform(*bounds))
