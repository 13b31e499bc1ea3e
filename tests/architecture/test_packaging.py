from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import tessera.core

from .source_tree import DISTRIBUTIONS, ROOT


def project(folder: Path) -> dict[str, Any]:
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_all_distributions_share_one_version() -> None:
    versions = {folder.name: project(folder)["version"] for folder in DISTRIBUTIONS}
    assert set(versions.values()) == {tessera.core.__version__}, versions
    assert len(versions) > 1


def test_the_citation_and_the_changelog_name_that_version() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(cited["version"]) == tessera.core.__version__
    assert f"## {tessera.core.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)
def test_siblings_are_bound_to_the_same_minor_version(folder: Path) -> None:
    major, minor, *_ = map(int, project(folder)["version"].split("."))
    siblings = [d for d in project(folder)["dependencies"] if d.startswith("tessera-")]
    for dependency in siblings:
        assert re.fullmatch(rf"tessera-[a-z]+>={major}\.{minor},<{major}\.{minor + 1}", dependency)
    assert bool(siblings) == (folder.name != "shared")


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)
def test_every_dependency_has_a_lower_bound_and_a_reason(folder: Path) -> None:
    lines = (folder / "pyproject.toml").read_text(encoding="utf-8").splitlines()
    table = project(folder)
    extras = [d for group in table.get("optional-dependencies", {}).values() for d in group]
    wrong = []
    for dependency in [*table["dependencies"], *extras]:
        line = next(line for line in lines if f'"{dependency}"' in line)
        if not re.search(r"#\s*\w.{3,}$", line) or ">=" not in dependency:
            wrong.append(line)
    assert not wrong


@pytest.mark.parametrize("folder", DISTRIBUTIONS, ids=lambda folder: folder.name)
def test_every_distribution_is_packaged_the_same_way(folder: Path) -> None:
    table = project(folder)
    assert table["name"] == f"tessera-{'core' if folder.name == 'shared' else folder.name}"
    assert (table["license"], table["requires-python"]) == ("Apache-2.0", ">=3.11")
    package = folder / "src" / "tessera" / table["name"].removeprefix("tessera-")
    assert (package / "py.typed").is_file()


def test_every_ignored_warning_has_a_reason() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)["tool"]["pytest"]["ini_options"]["filterwarnings"]
    assert table[0] == "error"
    for rule in table[1:]:
        line = next(line for line in text.splitlines() if rule.replace("\\", "\\\\") in line or rule in line)
        before = text.splitlines()[text.splitlines().index(line) - 1]
        assert "#" in line or before.strip().startswith("#"), line
