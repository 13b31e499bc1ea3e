"""``tessera bench backbone``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

Command = Callable[..., Any]


def test_plugs_as_json_have_the_same_fields_in_every_row_and_name_the_machine(tessera: Command) -> None:
    found = json.loads(
        tessera("bench", "backbone", "--slot", "gate", "--dims", "1", "--turns", "1", "--json").out
    )
    assert {"python", "versions", "commit"} <= set(found["machine"])
    names = ["slot", "plug", "dims", "parameters", "macs", "milliseconds", "times_host", "refused"]
    assert all(list(row) == names for row in found["plugs"])
    assert {row["dims"] for row in found["plugs"]} == {1}
    assert {"identity", "eca"} <= {row["plug"] for row in found["plugs"]}


def test_the_table_shows_a_refusal_in_the_plugs_row(tessera: Command) -> None:
    outcome = tessera("bench", "backbone", "--slot", "down", "--slot", "head", "--dims", "1", "--turns", "1")
    assert outcome.out.startswith("1-D")
    rows = [line for line in outcome.out.splitlines() if "log_polar" in line]
    assert len(rows) == 1
    assert "spatial_dims=1" in rows[0]
    assert "mean_max" in outcome.out
    assert "softpool" in outcome.out


@pytest.mark.parametrize("slot", ["gat", "weights"])
def test_a_slot_without_computation_is_refused_by_name(tessera: Command, slot: str) -> None:
    outcome = tessera("bench", "backbone", "--slot", slot)
    assert outcome.code == 2
    assert f"'{slot}'" in outcome.err
    assert "one of down, mixer, gate" in outcome.err


def test_a_fourth_dimension_is_exit_2(tessera: Command) -> None:
    assert tessera("bench", "backbone", "--dims", "4").code == 2
