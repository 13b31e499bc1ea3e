"""The named sets of changes: what is in them, how they are drawn, and what they do to a batch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tessera.audio.augmentation_config import PICTURE_CHANGES, SET_NAMES, AugmentationSet
from tessera.audio.augmentation_set import SetTransform
from tessera.audio.config import SoundAugmentConfig, SoundConfig
from tessera.audio.transforms import SoundTransforms
from tessera.core.config import dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError
from tessera.core.training.study_config import arm_config, load_study

STUDY = Path(__file__).parents[2] / "studies" / "sound-ensemble.yaml"
RATE_HZ = 16_000
SOUNDS = torch.Size((40, 1, 4000))
PICTURES = torch.Size((40, 1, 24, 30))


def named(name: str) -> AugmentationSet:
    config = validate(SoundAugmentConfig, {"set": name}, source="test").set
    assert config is not None
    return config


def own(choose: str, *changes: dict[str, Any], copies: int = 10_000) -> SetTransform:
    values = {"choose": choose, "copies": copies, "changes": list(changes)}
    return SetTransform(validate(AugmentationSet, values, source="test"), sample_rate_hz=RATE_HZ)


def batch(shape: torch.Size) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def classes(rows: int, n: int = 4) -> Tensor:
    return torch.eye(n)[torch.arange(rows) % n]


def only(change: dict[str, Any], input: Tensor) -> Tensor:
    """Every row changed in one way."""
    chain = own("one", change)
    drawn = chain.draw(input.shape, classes(len(input)), torch.Generator().manual_seed(1))
    assert len(drawn[0].rows) == len(input)
    return chain.apply(input, drawn)


@pytest.mark.parametrize(
    ("name", "copies", "kinds"),
    [
        ("sgn", 10, "speed pitch gain noise shift"),
        ("ssa", 10, "wow noise clip speed distort gain shift mix compress pitch"),
        ("susa", 29, "wow noise clip speed distort gain shift mix compress pitch"),
        ("sspa", 5, "picture-shift picture-warp picture-mix picture-time-shift picture-emda"),
        (
            "suspa",
            8,
            "picture-shift picture-warp picture-mix picture-time-shift picture-emda picture-mask "
            "picture-stretch picture-rotate",
        ),
        ("tsma", 8, "tempo-ola tempo-wsola tempo tempo-hpss"),
    ],
)
def test_each_set_holds_what_the_sheet_says(name: str, copies: int, kinds: str) -> None:
    config = named(name)
    assert config.copies == copies
    assert list(dict.fromkeys(change.kind for change in config.changes)) == kinds.split()
    assert config.choose == ("all" if name == "sgn" else "one")
    if config.choose == "one":
        assert sum(change.weight for change in config.changes) == copies
    assert config.of_pictures == name.endswith("spa")


def test_the_standard_set_has_matlabs_ranges_each_with_half_probability() -> None:
    found = {change.kind: (change.range, change.probability) for change in named("sgn").changes}
    assert found == {
        "speed": ((0.8, 1.2), 0.5),
        "pitch": ((-2.0, 2.0), 0.5),
        "gain": ((-3.0, 3.0), 0.5),
        "noise": ((0.0, 10.0), 0.5),
        "shift": ((-0.005, 0.005), 0.5),
    }
    assert {change.range for change in named("tsma").changes} == {(0.8, 0.8), (1.5, 1.5)}


def test_a_run_keeps_the_whole_set_and_not_only_its_name() -> None:
    config = SoundConfig.model_validate({"pipeline": "p", "preset": "t", "augment": {"set": "ssa"}})
    text = dump_yaml(config.model_dump(mode="json"))
    assert "compress" in text
    assert validate(SoundConfig, loads_yaml(text), source="config.yaml") == config


def test_gain_of_six_decibels_doubles_and_noise_at_zero_is_as_strong_as_the_sound() -> None:
    x = batch(SOUNDS)
    louder = only({"kind": "gain", "range": [6.0206, 6.0206]}, x)
    torch.testing.assert_close(louder, 2 * x, rtol=1e-5, atol=0)
    added = only({"kind": "noise", "range": [0.0, 0.0]}, x) - x
    torch.testing.assert_close(added.square().mean((1, 2)).sqrt(), x.square().mean((1, 2)).sqrt())


def test_a_shift_is_in_seconds_and_a_mix_is_of_another_row_of_the_same_class() -> None:
    x = batch(SOUNDS)
    torch.testing.assert_close(only({"kind": "shift", "range": [0.005, 0.005]}, x), x.roll(80, -1))
    mixed = only({"kind": "mix", "range": [0.25, 0.25]}, x)
    for row, changed in enumerate(mixed):
        other = (changed - 0.75 * x[row]) / 0.25
        (found,) = (i for i in range(len(x)) if torch.allclose(other, x[i], atol=1e-4))
        assert found != row
        assert found % 4 == row % 4
    alone = own("one", {"kind": "mix", "range": [0.25, 0.25]})
    few = x[:3]  # each of its own class: nothing to mix with
    drawn = alone.draw(few.shape, torch.eye(3), torch.Generator().manual_seed(0))
    torch.testing.assert_close(alone.apply(few, drawn), few)


@pytest.mark.parametrize("name", SET_NAMES)
def test_a_row_stays_as_it_is_once_among_its_copies_and_the_others_change(name: str) -> None:
    chain = SetTransform(named(name), sample_rate_hz=RATE_HZ)
    shape = torch.Size((2000, 1, 1))
    drawn = chain.draw(shape, classes(2000), torch.Generator().manual_seed(0))
    touched = torch.cat([one.rows for one in drawn])
    share = 1 - len(set(touched.tolist())) / 2000
    left_out = 1 / (chain.config.copies + 1)
    if chain.config.choose == "all":
        left_out += (1 - left_out) * 0.5**5
    assert share == pytest.approx(left_out, abs=4 * (left_out / 2000) ** 0.5)
    if chain.config.choose == "one":
        assert len(set(touched.tolist())) == len(touched)
        counts = torch.tensor([len(one.rows) for one in drawn]) / len(touched)
        odds = torch.tensor([float(one.change.weight) for one in drawn]) / chain.config.copies
        assert float((counts - odds).abs().max()) < 0.03


def test_of_one_copy_half_of_the_rows_stay_as_they_are() -> None:
    chain = own("one", {"kind": "gain", "range": [1.0, 1.0]}, copies=1)
    drawn = chain.draw(torch.Size((2000, 1, 1)), classes(2000), torch.Generator().manual_seed(0))
    assert 900 < len(drawn[0].rows) < 1100  # 1000 +- 22


@pytest.mark.parametrize("name", SET_NAMES)
def test_every_change_of_a_set_does_something_finite_and_leaves_the_input_alone(name: str) -> None:
    config = named(name)
    x = batch(PICTURES if config.of_pictures else SOUNDS)[:8]
    before = x.clone()
    for change in config.changes:
        changed = only(change.model_dump(mode="json"), x)
        assert changed.shape == x.shape
        assert changed.isfinite().all()
        assert not torch.equal(changed, x), change.kind
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", SET_NAMES)
def test_the_same_generator_draws_the_same_and_ambient_state_is_not_touched(name: str) -> None:
    augment = {"set": name}
    config = SoundConfig.model_validate({"pipeline": "p", "preset": "t", "augment": augment})
    x, features, target = batch(SOUNDS)[:8], batch(PICTURES)[:8], classes(8)

    def run(seed: int) -> tuple[Tensor, Tensor]:
        chain, generator = SoundTransforms(config), torch.Generator().manual_seed(seed)
        sound, same = chain.on_input(x, target, generator)
        picture, mixed = chain.on_features(features, same, generator)
        assert torch.equal(mixed, target)
        return sound, picture

    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    first, again, other = run(3), run(3), run(4)
    assert torch.equal(torch.random.get_rng_state(), state)
    changed = 1 if name.endswith("spa") else 0
    assert torch.equal(first[changed], again[changed])
    assert not torch.equal(first[changed], other[changed])
    assert torch.equal(first[1 - changed], (features if changed == 0 else x))


def test_a_mask_hides_one_band_of_each_axis_as_wide_as_asked() -> None:
    x = batch(PICTURES)
    changed = only({"kind": "picture-mask", "range": [0.25, 0.25]}, x)
    hidden = (changed != x)[:, 0]
    assert set(hidden.all(dim=2).sum(dim=1).tolist()) == {6}
    assert set(hidden.all(dim=1).sum(dim=1).tolist()) == {7}


@pytest.mark.parametrize(
    ("augment", "features", "words"),
    [
        ({"set": "sga"}, "mel", "there is no set 'sga'"),
        ({"set": "sspa"}, "waveform", "augment.set changes pictures"),
        (
            {"set": {"choose": "one", "copies": 1, "changes": [{"kind": "speed", "range": [0.0, 1.2]}]}},
            "mel",
            "range [0.0, 1.2] of speed",
        ),
        (
            {
                "set": {
                    "choose": "one",
                    "copies": 1,
                    "changes": [
                        {"kind": "gain", "range": [0.0, 1.0]},
                        {"kind": "picture-rotate", "range": [0.0, 1.0]},
                    ],
                }
            },
            "mel",
            "not both",
        ),
    ],
)
def test_what_cannot_work_is_refused(augment: dict[str, Any], features: str, words: str) -> None:
    model = {"kind": "m3"} if features == "waveform" else {"kind": "crnn"}
    values = {"pipeline": "p", "preset": "t", "augment": augment, "features": {"kind": features}}
    with pytest.raises(ConfigError, match=re.escape(words)):
        validate(SoundConfig, {**values, "model": model}, source="test")


def test_the_study_of_the_ensemble_has_an_arm_of_every_set() -> None:
    study = load_study(STUDY)
    arms = {arm.label: arm for arm in study.arms}
    for name in SET_NAMES:
        config = arm_config(study, arms[f"crnn-{name}"], seed=0)
        assert isinstance(config, SoundConfig)
        assert config.augment.set == named(name)
        assert arms[f"crnn-{name}"].folds == ("1",)
    assert set(PICTURE_CHANGES) == {c.kind for c in named("suspa").changes}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", SET_NAMES)
def test_a_gpu_makes_the_same_changes(name: str) -> None:
    chain = SetTransform(named(name), sample_rate_hz=RATE_HZ)
    x = batch(PICTURES if chain.config.of_pictures else SOUNDS)
    drawn = chain.draw(x.shape, classes(len(x)), torch.Generator().manual_seed(0))
    there = chain.apply(
        x.cuda(), chain.draw(x.shape, classes(len(x)).cuda(), torch.Generator().manual_seed(0))
    )
    torch.testing.assert_close(there.cpu(), chain.apply(x, drawn), atol=5e-3, rtol=0)
