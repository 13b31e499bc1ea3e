from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tessera.core import pipeline as pipelines
from tessera.core.bundle import bundle as module
from tessera.core.bundle.bundle import Bundle, Member, combine, update_calibration, update_card, write_bundle
from tessera.core.bundle.card import Calibration, MetricRecord
from tessera.core.bundle.sums import write_sums
from tessera.core.config import load_yaml
from tessera.core.errors import BundleError, ConfigError, TesseraError
from tessera.core.testing.synthetic import SYNTHETIC, SyntheticConfig, network

from .conftest import make_card, make_member

Make = Callable[..., Bundle]
METRIC = MetricRecord(
    name="accuracy", value=0.9, low=0.8, high=0.95, dataset="stripes", split="test", n=12, n_groups=12
)


def change_weights(bundle: Bundle, change: Callable[[torch.Tensor], torch.Tensor], member: int = 0) -> None:
    file = bundle.path / "members" / str(member) / "model.safetensors"
    weights = load_file(file)
    weights["body.8.weight"] = change(weights["body.8.weight"])
    save_file(weights, file)


def change_json(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


# ---------------------------------------------------------------- round trip


def test_a_bundle_loads_as_it_was_written(make: Make) -> None:
    written = make()
    assert Bundle.load(written.path) == written
    assert Bundle.load(str(written.path)).card == make_card()
    assert written.calibration == Calibration(temperature=1.5, n=7, thresholds={"fine": 0.5})
    assert written.pipeline is SYNTHETIC
    assert isinstance(written.config, SyntheticConfig)
    assert written.config == make_member().config


def test_loaded_weights_are_equal_bit_for_bit(make: Make) -> None:
    weights = make_member().weights
    loaded = make().networks()[0].state_dict()
    assert loaded.keys() == weights.keys()
    for name, value in weights.items():
        assert loaded[name].dtype == value.dtype
        assert loaded[name].numpy().tobytes() == value.numpy().tobytes()


def test_a_loaded_network_answers_as_the_trained_one(make: Make) -> None:
    trained = network(make_member().config, 3)
    trained.load_state_dict(make_member().weights)
    input = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        # another memory format adds in another order
        torch.testing.assert_close(make().networks()[0](input), trained.eval()(input))


def test_loaded_networks_do_not_train(make: Make) -> None:
    assert not any(part.training for part in make().networks()[0].modules())


def test_the_golden_pair_replays_exactly_on_the_same_machine(make: Make) -> None:
    bundle = make()
    assert bundle.replay() == 0.0
    assert bundle.verify() == 0.0


def test_weights_that_share_memory_can_be_written(tmp_path: Path) -> None:
    member = make_member()
    whole = torch.zeros(2, 4)
    shared = {**member.weights, "body.0.bias": whole[0], "body.1.bias": whole[1], "body.1.weight": whole[1]}
    bundle = write_bundle(
        tmp_path / "b", pipeline=SYNTHETIC, card=make_card(), members=[Member(member.config, shared)]
    )
    assert all(torch.equal(bundle.weights()[name], value) for name, value in shared.items())


def test_writing_and_loading_leave_every_random_generator_alone(make: Make) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    bundle = make()
    Bundle.load(bundle.path).networks()
    bundle.verify()
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


def test_the_same_content_is_the_same_bytes_and_digest(make: Make) -> None:
    one, two = make("one"), make("two")
    files = sorted(p.relative_to(one.path) for p in one.path.rglob("*") if p.is_file())
    assert len(files) == 7
    for file in files:
        assert (one.path / file).read_bytes() == (two.path / file).read_bytes()
    assert one.digest == two.digest != make("three", seed=1).digest


def test_a_bundle_holds_no_pickle(make: Make) -> None:
    for file in (p for p in make().path.rglob("*") if p.is_file()):
        head = file.read_bytes()[:2]
        assert head[:1] != b"\x80"
        assert head != b"PK"
        assert file.suffix in {".safetensors", ".json", ".yaml", ".md", ""}


def test_the_readme_says_what_the_card_says(make: Make) -> None:
    text = (make().path / "README.md").read_text()
    for part in (
        "tests",
        "anything else",
        "fine, medium, coarse",
        "stripes (simulated, CC0-1.0)",
        "not measured",
    ):
        assert part in text


def test_sha256sum_agrees(make: Make) -> None:
    bundle = update_card(make(), metrics=[METRIC.model_dump()])
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=bundle.path, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b": OK") == 6


# ---------------------------------------------------------------- refused when written


@pytest.mark.parametrize("step", ["dump_yaml", "save_file", "_json", "_golden", "write_sums", "check_sums"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_bundle_half_written_never_appears(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, error: BaseException
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        assert not (tmp_path / "bundle").exists()
        raise error

    monkeypatch.setattr(module, step, fail)
    with pytest.raises(type(error)):
        make()
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_overwritten(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    make("empty")
    (tmp_path / "file").write_text("mine")
    for name in ("empty", "file"):
        with pytest.raises(BundleError, match="already holds files"):
            make(name)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_bundle_can_be_read_by_others(make: Make) -> None:
    assert make().path.stat().st_mode & 0o777 == 0o755


def test_a_network_that_diverged_is_refused(tmp_path: Path) -> None:
    member = make_member()
    member.weights["body.8.bias"][1] = math.nan
    with pytest.raises(BundleError, match="member 0's answer is not a number"):
        write_bundle(tmp_path / "b", pipeline=SYNTHETIC, card=make_card(), members=[member])
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize(("members", "counted"), [(0, 1), (1, 2), (2, 1)])
def test_the_card_counts_the_members(tmp_path: Path, members: int, counted: int) -> None:
    all_members = [make_member(i) for i in range(members)]
    with pytest.raises(BundleError, match="count the members"):
        write_bundle(tmp_path / "b", pipeline=SYNTHETIC, card=make_card(members=counted), members=all_members)


@pytest.mark.parametrize("section", [{"data": {"window": 7}}, {"inference": {"fusion": "max"}}])
def test_members_that_read_differently_are_refused(tmp_path: Path, section: Any) -> None:
    members = [make_member(), make_member(1, **section)]
    with pytest.raises(BundleError, match="member 1 reads its input differently"):
        write_bundle(tmp_path / "b", pipeline=SYNTHETIC, card=make_card(members=2), members=members)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    member = Member(make_member().config, make_member(n_outputs=4).weights)
    with pytest.raises(BundleError, match="member 0's weights do not fit"):
        write_bundle(tmp_path / "b", pipeline=SYNTHETIC, card=make_card(), members=[member])


# ---------------------------------------------------------------- refused when read


@pytest.mark.parametrize("change", [lambda w: w * 1.5, lambda w: w + math.nan, lambda w: w * math.inf])
def test_altered_weights_with_new_sums_fail_the_golden_replay(make: Make, change: Any) -> None:
    bundle = make()
    change_weights(bundle, change)
    write_sums(bundle.path)
    altered = Bundle.load(bundle.path)
    assert altered.digest != bundle.digest
    with pytest.raises(BundleError, match="golden input does not give the expected output"):
        altered.verify()


def test_every_member_is_replayed(make: Make, tmp_path: Path) -> None:
    bundle = combine(tmp_path / "all", [make("a"), make("b", seed=1)])
    assert bundle.verify() == 0.0
    change_weights(bundle, lambda w: w + 1, member=0)
    write_sums(bundle.path)
    with pytest.raises(BundleError, match="golden"):
        Bundle.load(bundle.path).verify()


def test_weights_of_another_shape_name_their_member(make: Make) -> None:
    bundle = make()
    change_weights(bundle, lambda w: w[:2])
    write_sums(bundle.path)
    with pytest.raises(BundleError, match="member 0's weights do not fit its network"):
        Bundle.load(bundle.path).networks()


@pytest.mark.parametrize("name", ["members/0/model.safetensors", "golden.safetensors"])
def test_broken_tensors_with_new_sums_are_refused(make: Make, name: str) -> None:
    bundle = make()
    (bundle.path / name).write_bytes(b"\x00" * 40)
    write_sums(bundle.path)
    with pytest.raises(BundleError, match=Path(name).name):
        Bundle.load(bundle.path).verify()


def test_a_golden_pair_of_other_members_is_refused(make: Make, tmp_path: Path) -> None:
    one, two = make("one"), combine(tmp_path / "two", [make("a"), make("b", seed=1)])
    (one.path / "golden.safetensors").write_bytes((two.path / "golden.safetensors").read_bytes())
    write_sums(one.path)
    with pytest.raises(BundleError, match="golden pair is not of these members"):
        Bundle.load(one.path).verify()


@pytest.mark.parametrize("text", ["", "[]", "{", '{"format": 2}', "\udcff"])
@pytest.mark.parametrize("name", ["card.json", "calibration.json", "members/0/config.yaml"])
def test_files_with_other_content_and_new_sums_are_refused_by_name(make: Make, name: str, text: str) -> None:
    bundle = make()
    (bundle.path / name).write_bytes(text.encode(errors="surrogateescape"))
    write_sums(bundle.path)
    with pytest.raises(BundleError, match=name):
        Bundle.load(bundle.path)


@pytest.mark.parametrize(("name", "field"), [("card.json", "members"), ("card.json", "format")])
def test_a_card_from_elsewhere_is_refused(make: Make, name: str, field: str) -> None:
    bundle = make()
    change_json(bundle.path / name, **{field: 2})
    write_sums(bundle.path)
    with pytest.raises(TesseraError):
        Bundle.load(bundle.path)


def test_a_pipeline_that_is_not_installed_is_named(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make()
    monkeypatch.setattr(pipelines, "discover", dict)
    with pytest.raises(ConfigError, match="no pipeline 'synthetic'"):
        Bundle.load(bundle.path)


@pytest.mark.parametrize("name", ["", "nothing-here", "a-file"])
def test_what_is_no_bundle_says_so(tmp_path: Path, name: str) -> None:
    (tmp_path / "a-file").write_text("text")
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle.load(tmp_path / name)


# ---------------------------------------------------------------- combined


def test_a_combined_bundle_holds_every_member(make: Make, tmp_path: Path) -> None:
    parts = [make("a", temperature=0.5), make("b", seed=1, temperature=2.0)]
    bundle = combine(tmp_path / "all", [*parts, make("c", seed=2, temperature=8.0)])
    assert bundle.card.members == 3
    assert [len(bundle.card.training), bundle.card.metrics] == [3, ()]
    assert bundle.calibration.temperature == pytest.approx(2.0)  # cube root of 8
    assert bundle.calibration.n == 21
    input = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        answers = [n(input) for n in bundle.networks()]
        for answer, part in zip(answers, parts, strict=False):
            assert torch.equal(answer, part.networks()[0](input))
    assert not torch.equal(answers[0], answers[1])
    assert Bundle.load(bundle.path) == bundle


def test_combining_counts_members_not_bundles(make: Make, tmp_path: Path) -> None:
    two = combine(tmp_path / "two", [make("a"), make("b", seed=1)])
    three = combine(tmp_path / "three", [two, make("c", seed=2)])
    assert three.card.members == 3
    for i, seed in enumerate((0, 1, 2)):
        assert torch.equal(three.weights(i)["body.0.weight"], make_member(seed).weights["body.0.weight"])


def test_one_bundle_combined_is_itself(make: Make, tmp_path: Path) -> None:
    one = make()
    alone = combine(tmp_path / "alone", [one])
    assert torch.equal(alone.weights()["body.0.weight"], one.weights()["body.0.weight"])
    assert alone.calibration.temperature == pytest.approx(1.5)


@pytest.mark.parametrize(
    "change",
    [
        {"target": {"kind": "class", "classes": ["coarse", "medium", "fine"]}},
        {"target_name": "size"},
        {"input_shape": (1, 12, 12)},
    ],
)
def test_bundles_that_answer_something_else_are_not_combined(make: Make, tmp_path: Path, change: Any) -> None:
    with pytest.raises(BundleError, match="differ in their") as caught:
        combine(tmp_path / "all", [make("a"), make("b", **change)])
    assert all(name in caught.value.problem for name in (next(iter(change)), "/a", "/b"))
    assert not (tmp_path / "all").exists()


def test_nothing_combined_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no bundle"):
        combine(tmp_path / "all", [])


# ---------------------------------------------------------------- updated


def test_an_updated_card_is_written_everywhere_and_keeps_the_digest(make: Make) -> None:
    bundle = make()
    updated = update_card(bundle, metrics=[METRIC])
    assert updated.card == make_card(metrics=[METRIC])
    assert Bundle.load(bundle.path) == updated
    assert "| accuracy | 0.900 | [0.800, 0.950] | stripes | test | 12 |" in (
        bundle.path / "README.md"
    ).read_text(encoding="utf-8")
    assert updated.digest == bundle.digest
    assert updated.verify() == 0.0


def test_what_decides_the_answers_changes_the_digest(make: Make) -> None:
    bundle = make()
    warmer = update_calibration(bundle, Calibration(temperature=2.0, n=5))
    assert warmer.calibration.temperature == 2.0
    renamed = update_card(warmer, target={"kind": "class", "classes": ["x", "y", "z"]})
    assert len({bundle.digest, warmer.digest, renamed.digest}) == 3


def test_a_bad_card_is_refused_and_nothing_changes(make: Make) -> None:
    bundle = make()
    with pytest.raises(ConfigError, match="unknown field metric"):
        update_card(bundle, metric=[METRIC])
    assert Bundle.load(bundle.path) == bundle


@pytest.mark.parametrize(
    "update", [lambda b: update_card(b, limits="x"), lambda b: update_calibration(b, Calibration())]
)
def test_an_update_does_not_hide_that_weights_were_changed(make: Make, update: Any) -> None:
    bundle = make()
    change_weights(bundle, lambda w: w + 1)
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file"):
        update(bundle)
    with pytest.raises(BundleError, match=r"model\.safetensors is not the file"):
        Bundle.load(bundle.path)


def test_the_config_on_disk_is_complete(make: Make) -> None:
    values = load_yaml(make().path / "members" / "0" / "config.yaml")
    assert SyntheticConfig.model_validate(values) == make_member().config
    assert set(values) == set(SyntheticConfig.model_fields)
