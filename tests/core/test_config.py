from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from pydantic import Field, ValidationError, model_validator

from tessera.core.config import (
    Config,
    TrainingOnly,
    dump_yaml,
    loads_yaml,
    merge,
    parse_set,
    trained,
    validate,
)
from tessera.core.errors import ConfigError

from .yaml_values import trees


class Near(Config):
    kind: Literal["near"] = "near"
    distance_m: float = Field(1.0, gt=0.0, le=10.0)


class Far(Config):
    kind: Literal["far"] = "far"
    distance_km: float = 1.0


class Part(Config):
    name: str
    weight_kg: float = 1.0


class Whole(Config):
    place: Annotated[Near | Far, Field(discriminator="kind")] = Near()
    parts: dict[str, Part] = Field(default_factory=dict)
    spare: Part | None = None
    queue: tuple[Part, ...] = ()
    side: Literal["left"] | int = 0
    low: float = 0.0
    high: float = 1.0

    @model_validator(mode="after")
    def _ordered(self) -> Whole:
        if self.low > self.high:
            raise ValueError("low is above high")
        return self


# ---------------------------------------------------------------- merging


def test_merge_lays_one_over_the_other_and_changes_neither() -> None:
    base = {"a": {"x": 1, "y": {"z": 1}}, "b": [1, 2]}
    override = {"a": {"y": {"w": 2}}, "b": [3], "c": None}
    merged, notices = merge(base, override)
    assert merged == {"a": {"x": 1, "y": {"z": 1, "w": 2}}, "b": [3], "c": None}
    assert notices == []
    assert base == {"a": {"x": 1, "y": {"z": 1}}, "b": [1, 2]}
    assert override == {"a": {"y": {"w": 2}}, "b": [3], "c": None}


def test_a_new_kind_drops_the_old_kinds_fields_and_says_so() -> None:
    base = {"net": {"model": {"kind": "crnn", "rnn": [8], "dropout": 0.1, "inner": {"x": 1}}}}
    merged, (notice,) = merge(base, {"net": {"model": {"kind": "m5", "dropout": 0.3}}})
    assert merged == {"net": {"model": {"kind": "m5", "dropout": 0.3}}}
    assert notice == "net.model.kind changed from crnn to m5: dropped inner, rnn of crnn"


def test_the_same_kind_keeps_its_fields() -> None:
    assert merge({"m": {"kind": "a", "x": 1}}, {"m": {"kind": "a", "y": 2}}) == (
        {"m": {"kind": "a", "x": 1, "y": 2}},
        [],
    )


def test_a_new_kind_with_nothing_to_drop_is_silent() -> None:
    assert merge({"m": {"kind": "a"}}, {"m": {"kind": "b", "y": 2}}) == ({"m": {"kind": "b", "y": 2}}, [])


@given(trees)
def test_merging_with_nothing_or_itself_changes_nothing(tree: dict[str, Any]) -> None:
    assert merge(tree, {}) == (tree, [])
    assert merge({}, tree) == (tree, [])
    assert merge(tree, tree) == (tree, [])


# ---------------------------------------------------------------- --set


def test_assignments_become_a_tree() -> None:
    given_values = ["trainer.max_epochs=60", "trainer.lr=1e-3", "data.label=no", "a=", "b=x=y", "c=[1, 2]"]
    assert parse_set([*given_values, "model={kind: m5}", "model.dropout=0.1"]) == {
        "trainer": {"max_epochs": 60, "lr": 0.001},
        "data": {"label": "no"},
        "a": None,
        "b": "x=y",
        "c": [1, 2],
        "model": {"kind": "m5", "dropout": 0.1},
    }


@pytest.mark.parametrize(
    "assignments",
    [
        ["max_epochs"],
        ["=3"],
        ["a..b=3"],
        [".a=3"],
        ["a=1", "a.b=2"],
        ["a.b=2", "a=1"],
        ["a=0", "a=1"],
        ["a=[1"],
        ["a={b: 1, b: 2}"],
        ["a=!!python/name:os.system"],
    ],
)
def test_a_bad_assignment_is_refused_by_name(assignments: list[str]) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_set(assignments)


# ---------------------------------------------------------------- validating


def refused(values: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        validate(Whole, values, source="my.yaml")
    assert caught.value.problem.startswith("my.yaml: ")
    return caught.value


@pytest.mark.parametrize(
    ("values", "name", "nearest"),
    [
        ({"plaec": {}}, "plaec", "place"),
        ({"place": {"kind": "near", "distance": 1}}, "place.distance", "distance_m"),
        ({"place": {"kind": "far", "distance": 1}}, "place.distance", "distance_km"),
        ({"parts": {"a": {"name": "x", "weigth_kg": 1}}}, "parts.a.weigth_kg", "weight_kg"),
        ({"spare": {"name": "x", "weight": 1}}, "spare.weight", "weight_kg"),
        ({"queue": [{"name": "x"}, {"name": "x", "nam": 1}]}, "queue.1.nam", "name"),
    ],
)
def test_an_unknown_field_is_named_with_the_nearest_one(values: Any, name: str, nearest: str) -> None:
    error = refused(values)
    assert error.problem == f"my.yaml: unknown field {name}"
    assert error.hint is not None
    assert error.hint.startswith(f"did you mean {nearest}? known fields: ")


def test_an_unknown_field_unlike_any_lists_the_known_ones() -> None:
    hint = refused({"spare": {"name": "x", "zzz": 1}}).hint
    assert hint == "known fields: name, weight_kg"


@pytest.mark.parametrize(
    ("values", "name", "found", "expected"),
    [
        ({"place": {"kind": "near", "distance_m": 11}}, "place.distance_m", "11", "less than or equal to 10"),
        ({"place": {"kind": "nearby"}}, "place.kind", None, "one of 'near', 'far', not 'nearby'"),
        ({"place": {"distance_m": 1}}, "place.kind", None, "a value; none was given"),
        ({"spare": {}}, "spare.name", None, "a value; none was given"),
        ({"queue": [{"name": 3}]}, "queue.0.name", "3", "a valid string"),
        ({"spare": 3}, "spare", "3", "key: value lines"),
        ({"side": "right"}, "side", "'right'", "'left' or a valid integer"),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(
    values: Any, name: str, found: str | None, expected: str
) -> None:
    error = refused(values)
    assert error.problem == f"my.yaml: cannot use {name}"
    assert error.found == found
    assert str(error.expected).startswith(expected)


def test_values_that_do_not_fit_together_say_why() -> None:
    error = refused({"low": 2.0, "high": 1.0})
    assert error.problem == "my.yaml: these values do not fit together"
    assert error.expected == "low is above high"


def test_every_problem_is_listed() -> None:
    error = refused({"low": "x", "zzz": 1, "place": {"kind": "near", "distance_m": -1}})
    assert error.problem == "my.yaml: unknown field zzz"
    for part in ("zzz: there is no such field", "place.distance_m: greater than 0", "low: a valid number"):
        assert part in str(error.expected)


@pytest.mark.parametrize("values", [None, [1], "text", 3, {1: 2}])
def test_what_is_no_mapping_of_names_is_refused(values: Any) -> None:
    refused(values)


def test_valid_values_become_the_config() -> None:
    config = validate(Whole, {"place": {"kind": "far", "distance_km": 2}}, source="my.yaml")
    assert config.place == Far(distance_km=2.0)


# ---------------------------------------------------------------- the base


def test_a_config_is_frozen() -> None:
    with pytest.raises(ValidationError):
        Near().distance_m = 2.0  # type: ignore[misc]


def test_a_bad_default_is_refused() -> None:
    class Bad(Config):
        share: float = Field(2.0, le=1.0)

    with pytest.raises(ValidationError):
        Bad()


def test_the_digest_is_the_published_sha256_of_the_canonical_json() -> None:
    # printf '{"distance_m":2.5,"kind":"near"}' | sha256sum
    assert Near(distance_m=2.5).digest() == "0b64437b01f946d8b18100e895df13222fce6a6af2ce77b3a73ef67c1d7a90c7"


def test_the_digest_depends_on_values_alone() -> None:
    one = validate(Whole, {"low": 0, "spare": {"name": "x", "weight_kg": 1}}, source="")
    other = validate(Whole, {"spare": {"weight_kg": 1.0, "name": "x"}, "low": 0.0}, source="")
    assert one.digest() == other.digest()
    assert one.digest() != one.model_copy(update={"high": 2.0}).digest()


def test_a_config_survives_its_own_yaml() -> None:
    config = Whole(place=Near(distance_m=1e-5), parts={"no": Part(name="12:30")}, high=math.inf)
    back = validate(Whole, loads_yaml(dump_yaml(config.model_dump(mode="json"))), source="")
    assert back == config
    assert back.digest() == config.digest()


# ---------------------------------------------------------------- trained networks


class Layer(Config):
    first: Annotated[str | None, TrainingOnly()] = None
    width: int = 1


class Net(Config):
    one: Layer = Layer()
    several: tuple[Layer, ...] = ()
    named: dict[str, Layer] = Field(default_factory=dict)
    first: Annotated[str | None, TrainingOnly()] = None


def test_a_trained_config_has_no_fields_of_training_at_any_depth() -> None:
    part = Layer(first="a", width=3)
    whole = Net(one=part, several=(part, Layer(width=2)), named={"x": part}, first="b")
    bare = Layer(width=3)
    assert trained(whole) == Net(one=bare, several=(bare, Layer(width=2)), named={"x": bare})
    assert (whole.first, whole.one.first) == ("b", "a")
