"""``list``, ``info``, ``doctor``, and how every command fails."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tessera.core.cli import explore
from tessera.core.config import loads_yaml

Command = Callable[..., Any]


def test_list_as_json_names_field_task_summary_and_presets(tessera: Command) -> None:
    rows = json.loads(tessera("list", "--json").out)
    sound = next(row for row in rows if row["name"] == "sound")
    assert sorted(sound) == ["domain", "name", "presets", "summary", "task"]
    assert sound["domain"] == "audio"
    assert {"crnn", "m5", "m11", "m18", "smoke"} <= set(sound["presets"])


def test_list_for_a_person_shows_the_same_names(tessera: Command) -> None:
    shown = tessera("list").out
    assert "sound" in shown
    assert "crnn" in shown


def test_info_says_how_to_cite_and_what_not_to_do(tessera: Command) -> None:
    facts = json.loads(tessera("info", "sound", "--json").out)
    assert "arXiv:1610.00087" in facts["cite"]
    assert facts["limits"]
    assert ".flac" in facts["files"]


def test_info_prints_a_preset_that_reads_back_as_yaml(tessera: Command) -> None:
    values = loads_yaml(tessera("info", "sound", "--preset", "m5").out)
    assert values["model"]["kind"] == "m5"
    assert values["trainer"]["batch_size"] == 16


def test_info_prints_a_json_schema_with_descriptions(tessera: Command) -> None:
    schema = json.loads(tessera("info", "sound", "--schema").out)
    window = schema["$defs"]["SoundDataConfig"]["properties"]["window_s"]
    assert window["description"].endswith(", s")


def test_doctor_passes_on_this_machine(tessera: Command) -> None:
    outcome = tessera("doctor", "--json")
    assert outcome.code == 0
    assert {row["check"] for row in json.loads(outcome.out)} >= {"python", "packages", "pipelines", "device"}


def test_doctor_names_a_problem_and_exits_with_3(tessera: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_DATA_ROOT", "/nowhere/at/all")
    outcome = tessera("doctor", "--json")
    assert outcome.code == 3
    broken = [row for row in json.loads(outcome.out) if not row["ok"]]
    assert [row["check"] for row in broken] == ["data"]
    assert "/nowhere/at/all" in broken[0]["found"]


def test_a_check_that_fails_in_any_way_is_one_row() -> None:
    def broken() -> str:
        raise OSError("no such device")

    assert explore._check("device", broken) == ("device", False, "OSError: no such device")


def test_an_unknown_pipeline_is_exit_2_with_the_known_ones_and_no_traceback(tessera: Command) -> None:
    outcome = tessera("info", "sonud")
    assert outcome.code == 2
    assert "sonud" in outcome.err
    assert "one of" in outcome.err
    assert "Traceback" not in outcome.err


def test_debug_lets_the_error_through(tessera: Command) -> None:
    from tessera.core.errors import ConfigError

    with pytest.raises(ConfigError, match="sonud"):
        tessera("--debug", "info", "sonud")


def test_an_unknown_option_is_exit_2(tessera: Command) -> None:
    assert tessera("list", "--colour").code == 2


def test_ctrl_c_is_exit_130(tessera: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tessera.core.pipeline.discover", interrupted)
    outcome = tessera("list")
    assert outcome.code == 130
    assert "run the command again" in outcome.err


@pytest.mark.parametrize("name", ["list", "info", "doctor", "simulate", "data", "fetch", "train", "evaluate"])
def test_every_command_explains_itself(tessera: Command, name: str) -> None:
    outcome = tessera(name, "--help")
    assert outcome.code == 0
    assert "Usage" in outcome.out


def test_the_exit_codes_are_documented_in_the_help(tessera: Command) -> None:
    assert "130 interrupted" in tessera("--help").out
