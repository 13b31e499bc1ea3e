"""A file a case that says where its result comes from, with the same bytes however it was made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tessera.core.inference.runner import run
from tessera.core.inference.shards import Shard, merge
from tessera.core.inference.summary import Progress

from .fakes import IDENTITY, FakeWriter, make_files, make_steps, tree


def test_it_names_input_model_options_versions_and_outputs(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=2, extra=("badnan", "silentone"))
    out = tmp_path / "out"
    summary = run(make_steps(), cases, out, provenance=True)
    facts = {path.stem: json.loads(path.read_text()) for path in (out / "provenance").iterdir()}
    assert set(facts) == {case.id for case in cases}
    good = facts["case001"]
    assert good["bundle_sha256"] == IDENTITY.bundle_digest
    assert good["options_sha256"] == IDENTITY.config_digest
    assert good["code_version"] == "1.0"
    written = (out / "cases/case001.json").read_bytes()
    assert good["outputs"] == {"cases/case001.json": hashlib.sha256(written).hexdigest()}
    assert (good["status"], good["error"], good["remarks"]) == ("ok", "", [])
    assert facts["silentone"]["remarks"] == ["silent"]
    assert "not finite" in facts["badnan"]["error"]
    assert set(summary.cases) == set(facts)
    assert summary.cases["case001"]["attempts"] == 1
    assert summary.cases["case001"]["seconds"]["network"] > 0


def test_it_has_the_same_bytes_after_interruptions_and_in_shards(tmp_path: Path) -> None:
    cases = make_files(tmp_path / "in", n=6, extra=("badnan",))

    def stop(progress: Progress) -> None:
        if progress.done == 3:
            raise KeyboardInterrupt

    run(make_steps(), cases, tmp_path / "whole", provenance=True)
    run(make_steps(), cases, tmp_path / "out", provenance=True, progress=stop)
    run(make_steps(), cases, tmp_path / "out", provenance=True)
    for i in (1, 2):
        run(make_steps(), cases, tmp_path / "parts", shard=Shard(i, 2))
    merge(tmp_path / "parts", FakeWriter(), provenance=True)
    assert tree(tmp_path / "out") == tree(tmp_path / "whole") == tree(tmp_path / "parts")


@pytest.mark.parametrize("name", ["../outside", "/absolute", "x" * 240])
def test_no_case_s_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    (case,) = make_files(tmp_path / "in", n=0, extra=("badnan",))
    run(make_steps(), [replace(case, id=name)], tmp_path / "out", provenance=True)
    (path,) = (tmp_path / "out" / "provenance").iterdir()
    assert json.loads(path.read_text())["case_id"] == name
