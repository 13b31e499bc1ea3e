"""Options of the outputs: thresholds, species lists, and everything that does not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tessera.audio.output_config import SoundOutput
from tessera.core.bundle.card import Calibration, ThresholdCurve
from tessera.core.config import validate
from tessera.core.errors import ConfigError

CLASSES = ("wood thrush", "Wood Duck", "rain", "7")
CURVE = ThresholdCurve(n_positive=20, threshold=(0.2, 0.6), precision=(0.5, 0.95), recall=(1.0, 0.4))
CALIBRATION = Calibration(
    n=40, precision=0.9, thresholds={"rain": 0.6, "7": 0.7}, curves={"rain": CURVE}, remarks={}
)


def options(**values: Any) -> SoundOutput:
    return validate(SoundOutput, values, source="options")


def levels(made: SoundOutput, calibration: Calibration = CALIBRATION) -> list[float]:
    return [one.threshold for one in made.thresholds(CLASSES, calibration).values()]


def test_thresholds_are_those_of_the_bundle_and_one_half_where_it_has_none() -> None:
    assert levels(options()) == [0.5, 0.5, 0.6, 0.7]
    found = options().thresholds(CLASSES, CALIBRATION)
    assert (found["rain"].precision, found["rain"].recall) == (0.95, 0.4)
    assert "no threshold of this class" in found["wood thrush"].remark
    assert levels(options(), Calibration()) == [0.5] * 4


def test_another_precision_is_looked_up_in_the_stored_curve() -> None:
    assert levels(options(precision=0.5))[2] == 0.2
    found = options(precision=0.99).thresholds(CLASSES, CALIBRATION)["rain"]
    assert found.threshold == 0.6
    assert "precision 0.99 was not reached" in found.remark
    with pytest.raises(ConfigError, match="which thresholds give which precision"):
        options(precision=0.5).thresholds(CLASSES, Calibration())


def test_a_threshold_can_be_given_for_all_or_by_class() -> None:
    assert levels(options(threshold=0.3)) == [0.3] * 4
    assert levels(options(threshold={"Wood Duck": 0.8})) == [0.5, 0.8, 0.6, 0.7]
    assert levels(options(threshold={"rain": 0.8}, precision=0.5))[2] == 0.8


def test_classes_are_names_or_a_file_with_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "species.txt"
    file.write_bytes(b"\xef\xbb\xbf# birds\r\nrain\r\n\r\n  wood thrush \r\nrain\r\n")
    for given in (str(file), "rain, wood thrush", ["rain", "wood thrush"]):
        assert options(classes=given).classes == ("rain", "wood thrush")
        assert options(classes=given).chosen_classes(CLASSES) == ("wood thrush", "rain")
    assert (
        options(classes=7).chosen_classes(CLASSES) == options(classes=[7]).chosen_classes(CLASSES) == ("7",)
    )
    assert options().chosen_classes(CLASSES) == CLASSES


def test_a_name_the_bundle_does_not_know_is_told_with_those_near_it() -> None:
    with pytest.raises(ConfigError) as caught:
        options(classes="Wood Thrush,rain,ruin,snow").chosen_classes(CLASSES)
    assert "does not know 3 of 4 names" in caught.value.problem
    assert "Wood Thrush (near: wood thrush" in str(caught.value.found)
    assert "ruin (near: rain)" in str(caught.value.found)
    with pytest.raises(ConfigError, match="threshold: the bundle does not know 1 of 1 names"):
        options(threshold={"snow": 0.5}).thresholds(CLASSES, CALIBRATION)
    with pytest.raises(ConfigError, match="its path is wrong"):
        options(classes="lists/birds.txt").chosen_classes(CLASSES)


def test_lists_that_name_nothing_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "species.txt"
    file.write_text("# none yet\n\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="names no class"):
        options(classes=str(file))
    file.write_bytes(b"gr\xfcn\n")
    with pytest.raises(ConfigError, match="UTF-8"):
        options(classes=str(file))
    assert options(classes=",".join(["rain"] * 500)).classes == ("rain",)  # too long for a path


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"formats": "csv,excel"}, "excel"),
        ({"smooth": 4}, "odd"),
        ({"smooth": 0}, "greater than or equal to 1"),
        ({"threshold": 1.5}, "less than or equal to 1"),
        ({"threshold": "high"}, "threshold"),
        ({"threshold": 0.5, "precision": 0.9}, "give one"),
        ({"precision": 0.0}, "greater than 0"),
        ({"min_duration_s": -1}, "greater than or equal to 0"),
        ({"min_duration": 1}, "did you mean min_duration_s"),
    ],
)
def test_values_that_do_not_fit_are_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        options(**values)


def test_formats_are_a_list_or_text_each_once() -> None:
    assert options(formats="raven, csv,raven").formats == ("raven", "csv")
    assert options(formats=["audacity"]).formats == ("audacity",)
    assert SoundOutput().formats == ("csv",)
