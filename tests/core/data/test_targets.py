from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from tessera.core.config import dump_yaml, loads_yaml
from tessera.core.data.targets import TargetSpec, encode_target, n_outputs
from tessera.core.errors import DataError

ANIMALS = TargetSpec(kind="class", classes=("cat", "no", "dog"))
TAGS = TargetSpec(kind="tags", classes=("rain", "wind", "bird"))
SECONDS = TargetSpec(kind="number", unit="s")


def test_a_class_becomes_its_place_in_the_list() -> None:
    code = encode_target(ANIMALS, "dog")
    assert (code.dtype, code.shape, int(code)) == (np.dtype(np.int64), (), 2)


def test_tags_become_a_row_of_zeros_and_ones_in_the_order_of_the_list() -> None:
    assert encode_target(TAGS, ("bird", "rain")).tolist() == [1.0, 0.0, 1.0]
    nothing = encode_target(TAGS, ())
    assert nothing.dtype == np.float32
    assert nothing.tolist() == [0.0, 0.0, 0.0]


def test_a_number_keeps_its_value() -> None:
    code = encode_target(SECONDS, 0.5)
    assert (code.dtype, code.shape, float(code)) == (np.dtype(np.float32), (), 0.5)
    assert float(encode_target(SECONDS, 3)) == 3.0


@pytest.mark.parametrize(("spec", "width"), [(ANIMALS, 3), (TAGS, 3), (SECONDS, 2)])
def test_a_number_takes_two_outputs_and_classes_one_each(spec: TargetSpec, width: int) -> None:
    assert n_outputs(spec) == width


def test_an_unknown_class_names_the_case_the_value_and_the_known_classes() -> None:
    with pytest.raises(DataError) as caught:
        encode_target(ANIMALS, "dgo", case_id="clip7")
    assert all(word in str(caught.value) for word in ("clip7", "dgo", "cat, no, dog"))
    with pytest.raises(DataError, match="snow"):
        encode_target(TAGS, ("rain", "snow"))


@pytest.mark.parametrize("value", [math.nan, math.inf, "0.5", True])
def test_what_is_no_finite_number_is_refused(value: float | str | bool) -> None:
    with pytest.raises(DataError, match="room3"):
        encode_target(SECONDS, value, case_id="room3")


def test_a_plain_text_is_not_taken_for_tags_letter_by_letter() -> None:
    with pytest.raises(DataError, match="tuple of names"):
        encode_target(TAGS, "rain")


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "class"},
        {"kind": "number", "classes": ("a",)},
        {"kind": "numbers"},
        {"kind": "class", "classes": ("a", "a")},
        {"kind": "tags", "classes": ("a|b",)},
        {"kind": "class", "classes": ("",)},
        {"kind": "class", "classes": (True, False)},
        {"kind": "tags", "classes": ("a",), "partial": True},
    ],
)
def test_a_contradictory_declaration_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TargetSpec.model_validate(fields)


def test_digits_and_no_stay_names_through_yaml() -> None:
    read = TargetSpec.model_validate(loads_yaml("kind: class\nclasses: [0, 1, no, 12:30]"))
    assert read.classes == ("0", "1", "no", "12:30")
    assert TargetSpec.model_validate(loads_yaml(dump_yaml(read.model_dump(mode="json")))) == read


def test_several_numbers_are_encoded_in_the_order_of_their_names() -> None:
    spec = TargetSpec(kind="numbers", classes=("omega", "sigma"))
    assert n_outputs(spec) == 4
    assert encode_target(spec, (0.25, 3)).tolist() == [0.25, 3.0]
    for wrong in ((0.25,), 0.25, "0.25|3", (0.25, float("nan"))):
        with pytest.raises(DataError, match=r"omega, sigma|nan"):
            encode_target(spec, wrong)
