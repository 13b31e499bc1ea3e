"""Simulated sound scenes against acoustics: levels, decays, spectra, onsets, and sets on disk."""

from __future__ import annotations

import csv
import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import scipy.signal
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from tessera.audio.simulate import SOURCES, Scene, SceneConfig, scene_number, simulate_scene, write_scenes
from tessera.audio.simulate.room import add_reverberation, coloured_noise, reverberation_tail
from tessera.audio.simulate.sources import call, chirp, impulse, noise, tone
from tessera.core.errors import ConfigError

RATE = 16000
CLASSES = ("call", "impulse", "tone", "chirp", "noise")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def decibel(power: float | np.floating) -> float:
    return float(10 * np.log10(power))


def instantaneous_hz(waveform: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequency between neighbouring samples of one partial, (T - 1,), by scipy's analytic signal."""
    return np.diff(np.unwrap(np.angle(scipy.signal.hilbert(waveform)))) * RATE / (2 * np.pi)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


# Levels and rooms


@pytest.mark.parametrize("index", range(10))
def test_measured_snr_equals_the_drawn_one(index: int) -> None:
    scene = scene_number(index, seed=3, config=SceneConfig())
    (event,) = scene.events
    events_alone = scene.waveform.astype(np.float64) - scene.background
    signal = np.mean(events_alone[event.onset_sample : event.offset_sample] ** 2)
    measured = decibel(signal / np.mean(scene.background.astype(np.float64) ** 2))
    assert measured == pytest.approx(event.snr_db, abs=0.1)
    assert 0 <= event.snr_db <= 20


@pytest.mark.parametrize("t60_s", [0.3, 0.6, 1.5])
def test_tail_decays_by_60_db_in_t60(t60_s: float) -> None:
    tail = reverberation_tail(rng(1), sample_rate_hz=RATE, t60_s=t60_s)
    # Schroeder (1965): the energy still to come is the ensemble's decay curve; its straight part is fitted.
    decay_db = 10 * np.log10(np.cumsum(tail[::-1] ** 2)[::-1] / np.sum(tail**2))
    fitted = (decay_db <= -5) & (decay_db >= -35)
    slope = np.polyfit(np.arange(tail.size)[fitted] / RATE, decay_db[fitted], 1)[0]
    assert -60 / slope == pytest.approx(t60_s, rel=0.05)


def test_reverberation_keeps_the_direct_sound_and_the_asked_energy_ratio() -> None:
    tail = reverberation_tail(rng(1), sample_rate_hz=RATE, t60_s=0.2)
    click = np.array([0.5, 0.0, 0.0])
    wet = add_reverberation(click, tail, direct_to_reverberant_db=7.0)
    assert wet[0] == 0.5
    assert decibel(wet[0] ** 2 / np.sum(wet[1:] ** 2)) == pytest.approx(7.0, abs=1e-6)
    dry = rng(2).standard_normal(400)
    echo = add_reverberation(dry, tail, direct_to_reverberant_db=0.0)
    echo[: dry.size] -= dry
    np.testing.assert_allclose(echo[1:], np.convolve(dry, tail), atol=1e-9)


@pytest.mark.parametrize("slope", [0.0, -10.0, -20.0])
def test_background_has_the_asked_spectral_slope(slope: float) -> None:
    samples = 30 * RATE
    background = coloured_noise(rng(4), samples=samples, sample_rate_hz=RATE, slope_db_per_decade=slope)
    hz, density = scipy.signal.welch(background, RATE, nperseg=4096)
    middle = (hz > 200) & (hz < 7000)
    # Equal weight to each octave, as the slope is one over log frequency.
    fit = np.polyfit(np.log10(hz[middle]), 10 * np.log10(density[middle]), 1, w=1 / np.sqrt(hz[middle]))
    assert fit[0] == pytest.approx(slope, abs=0.5)
    assert np.mean(background**2) == pytest.approx(1.0)


# Sources


def test_tone_peaks_at_its_fundamental_and_falls_by_its_rolloff() -> None:
    wave = tone(
        rng(), sample_rate_hz=RATE, duration_s=1.5, f0_hz=440.0, harmonics=4, rolloff_db_per_octave=6.0
    )
    spectrum = np.abs(np.fft.rfft(wave[4000:20000]))  # one second: bins are 1 Hz
    assert np.argmax(spectrum) == 440
    octave_db = 20 * np.log10(spectrum[[880, 1760]] / spectrum[440])
    np.testing.assert_allclose(octave_db, [-6.0, -12.0], atol=0.01)
    assert set(np.flatnonzero(spectrum > spectrum.max() / 1000)) == {440, 880, 1320, 1760}


def test_linear_chirp_follows_a_straight_line_in_frequency() -> None:
    wave = chirp(rng(), sample_rate_hz=RATE, duration_s=1.0, start_hz=1000.0, end_hz=3000.0, shape="linear")
    t = (np.arange(RATE - 1) + 1) / RATE
    inside = slice(1600, -1600)
    np.testing.assert_allclose(instantaneous_hz(wave)[inside], (1000 + 2000 * t)[inside], rtol=0.005)


def test_falling_exponential_chirp_passes_the_geometric_mean_halfway() -> None:
    wave = chirp(
        rng(1), sample_rate_hz=RATE, duration_s=1.0, start_hz=4000.0, end_hz=1000.0, shape="exponential"
    )
    measured = instantaneous_hz(wave)
    assert measured[RATE // 4] == pytest.approx(4000 * 4**-0.25, rel=0.005)
    assert measured[RATE // 2] == pytest.approx(2000.0, rel=0.005)


def test_noise_burst_keeps_its_energy_inside_its_band() -> None:
    wave = noise(rng(), sample_rate_hz=RATE, duration_s=1.0, low_hz=1000.0, high_hz=2000.0)
    power = np.abs(np.fft.rfft(wave)) ** 2
    assert power[1000:2001].sum() / power.sum() > 0.99
    first, second = power[1020:1500].sum(), power[1500:1980].sum()
    assert abs(decibel(first / second)) < 1.0


def test_impulse_mode_falls_by_60_db_in_its_decay_time_after_each_strike() -> None:
    wave = impulse(
        rng(), sample_rate_hz=RATE, duration_s=0.8, resonances_hz=[1000.0], decays_s=[0.2], strikes=2
    )
    assert wave.size == 12800
    # 0.1 s is 100 periods and half the decay time: the same phase, 30 dB lower.
    np.testing.assert_allclose(wave[1600:3200], wave[:1600] * 10 ** (-30 / 20), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(wave[6400:6800], wave[:400], atol=2e-6)


def test_call_has_its_syllables_with_silence_between_and_its_sweep_inside() -> None:
    wave = call(
        rng(),
        sample_rate_hz=RATE,
        duration_s=1.0,
        f0_hz=1000.0,
        sweep=0.4,
        vibrato_depth=0.0,
        vibrato_rate_hz=0.0,
        harmonics=1,
        rolloff_db_per_octave=6.0,
        syllables=3,
        duty=0.5,
    )
    edges = np.diff(np.concatenate([[0], (wave != 0).astype(int), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    assert starts[0] == 0
    assert ends[-1] == wave.size == RATE
    np.testing.assert_allclose(starts / RATE, [0.0, 0.4, 0.8], atol=1e-4)  # period 1 / (2 + 0.5) s
    np.testing.assert_allclose((ends - starts) / RATE, 0.2, atol=1e-4)
    measured = instantaneous_hz(wave[:3200])
    np.testing.assert_allclose(measured[[800, 1600, 2400]], [900.0, 1000.0, 1100.0], rtol=0.005)


def test_partials_above_the_band_are_left_out_and_do_not_alias() -> None:
    wave = tone(
        rng(), sample_rate_hz=RATE, duration_s=1.0, f0_hz=3000.0, harmonics=8, rolloff_db_per_octave=0.0
    )
    power = np.abs(np.fft.rfft(wave * np.hanning(wave.size))) ** 2
    assert sorted(np.argsort(power)[-6:]) == [2999, 3000, 3001, 5999, 6000, 6001]


def test_noise_band_without_a_frequency_is_refused() -> None:
    with pytest.raises(ConfigError, match="silent"):
        noise(rng(), sample_rate_hz=RATE, duration_s=0.01, low_hz=110.0, high_hz=120.0)


# Scenes


@pytest.mark.parametrize("label", CLASSES)
@pytest.mark.parametrize("t60_s", [0.0, 0.4])
def test_scene_without_background_is_silent_until_the_very_onset(label: str, t60_s: float) -> None:
    config = SceneConfig(colours=(), t60_s=(t60_s, t60_s), classes=(label,))
    for seed in range(5):
        scene = simulate_scene(rng(seed), config=config)
        (event,) = scene.events
        sounding = np.flatnonzero(scene.waveform)
        assert event.label == label
        assert sounding[0] == event.onset_sample
        assert event.snr_db == float("inf")
        if t60_s == 0:
            assert sounding[-1] == event.offset_sample - 1


def test_recorded_parameters_render_a_sound_of_the_events_class_and_length() -> None:
    for index, label in enumerate(CLASSES):
        event = scene_number(index, seed=5, config=SceneConfig()).events[0]
        wave = SOURCES[label].render(rng(), sample_rate_hz=RATE, **event.parameters)
        assert event.label == label
        assert wave.size == event.offset_sample - event.onset_sample


def test_several_events_join_their_distinct_labels_in_order_of_onset() -> None:
    config = SceneConfig(duration_s=10.0, events_per_scene=(3, 6))
    scenes = [simulate_scene(rng(seed), config=config) for seed in range(8)]
    assert {len(scene.events) for scene in scenes} <= {3, 4, 5, 6}
    assert len({len(scene.events) for scene in scenes}) > 1
    for scene in scenes:
        onsets = [event.onset_sample for event in scene.events]
        assert onsets == sorted(onsets)
        assert scene.label.split("|") == sorted({event.label for event in scene.events})


@settings(max_examples=25, deadline=None)
@given(
    rate=st.sampled_from([8000, 16000, 22050, 48000]),
    duration_s=st.floats(0.5, 3.0),
    snr_db=st.floats(-20.0, 40.0),
    t60_s=st.floats(0.0, 2.0),
    seed=st.integers(0, 2**32),
)
def test_any_scene_is_finite_peaks_at_its_level_and_holds_its_events(
    rate: int, duration_s: float, snr_db: float, t60_s: float, seed: int
) -> None:
    config = SceneConfig(
        sample_rate_hz=rate,
        duration_s=duration_s,
        snr_db=(snr_db, snr_db),
        t60_s=(t60_s, t60_s),
        events_per_scene=(1, 3),
        level_dbfs=(-6.0, 0.0),
    )
    scene: Scene = simulate_scene(rng(seed), config=config)
    assert scene.waveform.dtype == np.float32
    assert scene.waveform.shape == (round(duration_s * rate),)
    peak = float(np.max(np.abs(scene.waveform)))
    assert peak <= 1
    assert 20 * np.log10(peak) == pytest.approx(scene.level_dbfs, abs=1e-4)
    for event in scene.events:
        assert 0 <= event.onset_sample < event.offset_sample <= scene.waveform.size


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("snr_db", (10.0, 0.0)),
        ("t60_s", (-0.1, 0.5)),
        ("level_dbfs", (-3.0, 1.0)),
        ("classes", ("call", "siren")),
        ("classes", ("call", "call")),
        ("events_per_scene", (3, 2)),
        ("sample_rate", 16000),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field if field != "classes" else "class"):
        SceneConfig.model_validate({field: value})


# Sets on disk


SHORT = SceneConfig(duration_s=0.5)


def test_same_seed_gives_same_bytes_and_another_seed_gives_others(tmp_path: Path) -> None:
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        write_scenes(tmp_path / name, n=6, seed=seed, config=SHORT)
    first, again, other = (digests(tmp_path / name) for name in "abc")
    assert first == again
    assert set(first) == {"events.csv", *(f"audio/scene-{number:05d}.wav" for number in range(1, 7))}
    assert not set(first.values()) & set(other.values())
    assert len(set(first.values())) == 7


def test_a_scene_does_not_depend_on_how_many_there_are(tmp_path: Path) -> None:
    few = write_scenes(tmp_path / "few", n=3, seed=1, config=SHORT)
    many = write_scenes(tmp_path / "many", n=8, seed=1, config=SHORT)
    assert many[:3] == few
    few_files, many_files = digests(tmp_path / "few"), digests(tmp_path / "many")
    assert all(many_files[path] == digest for path, digest in few_files.items() if path.endswith(".wav"))


def test_classes_and_folds_are_balanced_and_groups_are_scenes(tmp_path: Path) -> None:
    records = write_scenes(tmp_path, n=55, seed=2, config=SHORT)
    assert Counter(record["label"] for record in records) == dict.fromkeys(CLASSES, 11)
    cells = Counter((record["label"], record["split"]) for record in records)
    assert {split for _, split in cells} == {"1", "2", "3", "4", "5"}
    assert set(cells.values()) == {2, 3}
    assert len({record["group"] for record in records}) == len({record["id"] for record in records}) == 55


def test_files_and_event_table_agree_with_the_scenes(tmp_path: Path) -> None:
    config = SceneConfig(sample_rate_hz=22050, duration_s=2.0, events_per_scene=(1, 3))
    records = write_scenes(tmp_path, n=4, seed=9, config=config)
    with (tmp_path / "events.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for index, record in enumerate(records):
        scene = scene_number(index, seed=9, config=config)
        info = soundfile.info(tmp_path / record["path"])
        assert (info.format, info.subtype, info.samplerate) == ("WAV", "PCM_16", 22050)
        assert (info.frames, info.channels) == (44100, 1)
        wave, _ = soundfile.read(tmp_path / record["path"])
        np.testing.assert_allclose(wave, scene.waveform, atol=1.1 / 32768)
        own = [row for row in rows if row["case"] == record["id"]]
        assert [int(row["onset_sample"]) for row in own] == [event.onset_sample for event in scene.events]
        assert record["label"] == "|".join(sorted({row["label"] for row in own}))
        for row in own:
            assert float(row["offset_s"]) == pytest.approx(int(row["offset_sample"]) / 22050, abs=1e-6)
            assert float(row["onset_s"]) == pytest.approx(int(row["onset_sample"]) / 22050, abs=1e-6)
            assert record["meta"]["lowest_snr_db"] <= float(row["snr_db"]) <= 20


def test_the_loudest_scene_does_not_clip(tmp_path: Path) -> None:
    config = SceneConfig(duration_s=0.5, level_dbfs=(0.0, 0.0))
    for record in write_scenes(tmp_path, n=5, seed=0, config=config):
        pcm, _ = soundfile.read(tmp_path / record["path"], dtype="int16")
        extreme = np.abs(pcm.astype(int)) == 32767
        assert extreme.sum() == 1
        assert pcm.min() > -32768


def test_an_interrupted_run_leaves_whole_files_and_no_table(tmp_path: Path) -> None:
    def stop_at_two(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scenes(tmp_path, n=4, seed=0, config=SHORT, progress=stop_at_two)
    assert set(digests(tmp_path)) == {"audio/scene-00001.wav", "audio/scene-00002.wav"}
    calls: list[tuple[int, int]] = []
    write_scenes(
        tmp_path, n=4, seed=0, config=SHORT, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    write_scenes(tmp_path / "fresh", n=4, seed=0, config=SHORT)
    fresh = digests(tmp_path / "fresh")
    assert {path: digests(tmp_path)[path] for path in fresh} == fresh


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (1, -1)])
def test_impossible_requests_are_refused(tmp_path: Path, n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="cannot simulate"):
        write_scenes(tmp_path, n=n, seed=seed)
