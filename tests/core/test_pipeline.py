from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import pytest

from tessera.core import pipeline as pipelines
from tessera.core.errors import ConfigError
from tessera.core.pipeline import Pipeline
from tessera.core.testing.synthetic import SYNTHETIC, SyntheticConfig

OTHER = dataclasses.replace(SYNTHETIC, name="other", domain="elsewhere")
TWIN = dataclasses.replace(SYNTHETIC, domain="elsewhere")

SYNTHETICS = (SYNTHETIC,)
OTHERS = (OTHER,)
TWINS = (TWIN,)


@pytest.fixture(autouse=True)
def fresh_discovery(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("TESSERA_PIPELINES", raising=False)
    pipelines.discover.cache_clear()
    yield
    pipelines.discover.cache_clear()


def install(monkeypatch: pytest.MonkeyPatch, *references: str) -> None:
    def entry_points(*, group: str) -> list[EntryPoint]:
        assert group == "tessera.pipelines"
        return [EntryPoint(f"package{i}", reference, group) for i, reference in enumerate(references)]

    monkeypatch.setattr(pipelines, "entry_points", entry_points)


def test_every_installed_pipeline_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:SYNTHETICS", f"{__name__}:OTHERS")
    assert dict(pipelines.discover()) == {"synthetic": SYNTHETIC, "other": OTHER}
    assert pipelines.get("other") is OTHER


def test_pipelines_of_no_package_are_named_by_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:SYNTHETICS")
    monkeypatch.setenv("TESSERA_PIPELINES", f" {__name__}:OTHERS, ")
    assert dict(pipelines.discover()) == {"synthetic": SYNTHETIC, "other": OTHER}


def test_a_wrong_variable_is_named_as_the_cause(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    monkeypatch.setenv("TESSERA_PIPELINES", "no.such.module:PIPELINES")
    with pytest.raises(ConfigError, match=r"no\.such\.module:PIPELINES(?s:.*)correct TESSERA_PIPELINES"):
        pipelines.discover()


def test_one_name_twice_is_refused_with_both_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:SYNTHETICS", f"{__name__}:TWINS")
    with pytest.raises(ConfigError, match="two packages offer a pipeline called 'synthetic'") as caught:
        pipelines.discover()
    assert caught.value.found == "core.testing and elsewhere"


@pytest.mark.parametrize("reference", ["no.such.module:PIPELINES", f"{__name__}:NO_SUCH_NAME"])
def test_a_broken_package_is_named(monkeypatch: pytest.MonkeyPatch, reference: str) -> None:
    install(monkeypatch, reference)
    with pytest.raises(ConfigError, match=re.escape(reference)):
        pipelines.discover()


def test_an_unknown_name_lists_the_known_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:SYNTHETICS", f"{__name__}:OTHERS")
    with pytest.raises(ConfigError, match="no pipeline 'sonud'") as caught:
        pipelines.get("sonud")
    assert caught.value.expected == "one of synthetic, other"


def test_nothing_installed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)
    with pytest.raises(ConfigError, match="none installed"):
        pipelines.get("sound")


def test_what_was_found_cannot_be_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, f"{__name__}:SYNTHETICS")
    with pytest.raises(TypeError):
        pipelines.discover()["mine"] = OTHER  # type: ignore[index]


@pytest.mark.parametrize("name", [item.name for item in dataclasses.fields(Pipeline)])
def test_a_pipeline_is_frozen(name: str) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(SYNTHETIC, name, "changed")


def test_a_reference_is_imported_when_used() -> None:
    assert SYNTHETIC.resolve("config") is SyntheticConfig
    assert pipelines.resolve("math:pi") == pytest.approx(3.14159265)


def test_a_preset_carries_the_names_of_its_pipeline_and_itself() -> None:
    values = SYNTHETIC.preset_values("smoke")
    assert (values["pipeline"], values["preset"]) == ("synthetic", "smoke")
    assert SyntheticConfig.model_validate(values).preset == "smoke"


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="pipeline synthetic has no preset 'smok'") as caught:
        SYNTHETIC.preset_values("smok")
    assert caught.value.expected == "one of smoke"
