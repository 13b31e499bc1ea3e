from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from tessera.core.bundle.card import Calibration, Card
from tessera.core.data.targets import TargetSpec

from .conftest import make_card


@pytest.mark.parametrize(
    ("target", "words"),
    [
        (TargetSpec(kind="class", classes=("no", "yes")), "label: one of no, yes"),
        (TargetSpec(kind="tags", classes=("a", "b")), "label: any of a, b"),
        (TargetSpec(kind="number", unit="dB"), "label: a number with its uncertainty in dB"),
        (TargetSpec(kind="number"), "label: a number with its uncertainty\n"),
    ],
)
def test_the_readme_names_the_output(target: TargetSpec, words: str) -> None:
    assert f"- Output: {words}" in make_card(target=target).to_markdown()


def test_every_row_of_the_readmes_tables_is_as_wide_as_its_head() -> None:
    text = make_card(
        metrics=[
            {
                "name": "f1",
                "value": 0.5,
                "low": 0.4,
                "high": 0.6,
                "dataset": "d",
                "split": "s",
                "n": 3,
                "n_groups": 2,
            }
        ]
    ).to_markdown()
    for part in (text, make_card().to_markdown()):
        rows = [line.count("|") for line in part.splitlines() if line.startswith("|")]
        assert set(rows) == {7}


def test_a_card_survives_json() -> None:
    card = make_card(versions={"torch": "2.14"})
    assert Card.model_validate_json(card.model_dump_json()) == card


@pytest.mark.parametrize("values", [{"temperature": 0.0}, {"temperature": -1.0}, {"n": -1}, {"bias": 1.0}])
def test_a_calibration_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Calibration(**values)


@pytest.mark.parametrize("values", [{"members": 0}, {"format": 2}, {"parameters": 0}, {"extra": 1}])
def test_a_card_that_makes_no_sense_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_card(**values)
