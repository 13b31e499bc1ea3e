"""Masks through the whole prediction: prepared cases, test-time changes, runs, single cases and scores."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError
from tessera.core.inference.api import Predictor
from tessera.core.inference.blending import gaussian, importance
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.interfaces import CaseResult
from tessera.core.inference.ledger import Ledger
from tessera.core.inference.runner import run
from tessera.core.inference.score import NoResult, iter_results, score
from tessera.core.inference.shards import Shard, merge
from tessera.core.inference.single import result_of

from .fakes import tree
from .mask_fakes import (
    CLASSES,
    IDENTITY,
    PATCH,
    CroppedWindows,
    OddUnet,
    VolumeReader,
    VolumeSource,
    make_steps,
    make_volumes,
)
from .masks_by_hand import check_mask, on_source, spread


def by_hand(case: Any, network: nn.Module) -> tuple[Any, Any]:
    """All logits of a case on its own grid, and which voxels lie inside the crop."""
    windows, source = CroppedWindows(), VolumeSource(case)
    array, grid = windows.prepare(source)
    regions = windows.plan(grid)
    raws = []
    for region in regions:
        cut = array[:, *(slice(a, b) for a, b in zip(region.start, region.stop, strict=True))]
        full = np.pad(cut, [(0, 0), *((0, p - n) for p, n in zip(PATCH, cut.shape[1:], strict=True))])
        with torch.inference_mode():
            raws.append(network(torch.from_numpy(full)[None])[0].numpy())
    values = spread(regions, raws, grid.shape, importance(PATCH, gaussian).double().numpy())
    return on_source(values, grid.placement(), source.grid.shape)


@pytest.mark.parametrize("budget", [1, 2**20])
def test_a_predicted_mask_equals_one_made_by_hand(tmp_path: Path, budget: int) -> None:
    for case in make_volumes(tmp_path):
        mask = result_of(make_steps(budget_bytes=budget), case).mask
        assert mask is not None
        check_mask(mask, *by_hand(case, OddUnet()))
        assert not mask[0].any()  # outside the crop
        assert not mask[-1].any()


def test_the_source_is_closed_before_windows_flow(tmp_path: Path) -> None:
    opened: list[VolumeSource] = []

    class Noting(VolumeReader):
        def open(self, case: Any) -> VolumeSource:
            opened.append(super().open(case))
            return opened[-1]

    class Watching(CroppedWindows):
        def read(self, source: Any, region: Any) -> Any:
            assert opened[-1].closed
            return super().read(source, region)

    (case,) = make_volumes(tmp_path, n=1)
    assert result_of(make_steps(reader=Noting(), windows=Watching()), case).mask is not None


def test_a_source_is_closed_when_preparing_it_fails(tmp_path: Path) -> None:
    opened: list[VolumeSource] = []

    class Noting(VolumeReader):
        def open(self, case: Any) -> VolumeSource:
            opened.append(super().open(case))
            return opened[-1]

    class Failing(CroppedWindows):
        def prepare(self, source: Any) -> Any:
            raise OSError(5, "Input/output error")

    (case,) = make_volumes(tmp_path, n=1)
    with pytest.raises(OSError, match="Input/output"):
        result_of(make_steps(reader=Noting(), windows=Failing()), case)
    assert opened[0].closed


def test_order_readers_and_shards_change_no_byte(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path / "in", n=5)
    run(make_steps(), cases, tmp_path / "a")
    run(make_steps(), cases[::-1], tmp_path / "b", workers=3)
    for i in range(2):
        run(make_steps(), cases, tmp_path / "c", shard=Shard(i + 1, 2))
    merge(tmp_path / "c", make_steps().writer)
    expected = tree(tmp_path / "a")
    assert len(expected) == 5 + 3
    assert tree(tmp_path / "b") == expected
    assert tree(tmp_path / "c") == expected


def test_one_case_alone_gives_the_mask_of_a_run(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path / "in", n=4)
    found = score(make_steps(), cases, workers=2)
    for case, result in zip(cases, found.results, strict=True):
        np.testing.assert_array_equal(result.mask, result_of(make_steps(), case).mask)


def test_results_come_one_by_one_and_failures_by_name(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path, n=2, extra=("nan",))
    found = list(iter_results(make_steps(), cases))
    assert [item.case.id for item in found] == [case.id for case in cases]
    assert all(isinstance(item, CaseResult) for item in found[:2])
    assert isinstance(found[2], NoResult)
    assert "not finite" in found[2].error


def test_scores_can_be_taken_instead_of_kept(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path, n=3)
    taken: dict[str, Any] = {}

    def take(result: CaseResult) -> None:
        if result.case.id == "case1":
            raise ValueError("no truth for it")
        taken[result.case.id] = result.mask

    found = score(make_steps(), cases, take=take)
    assert found.results == ()
    assert sorted(taken) == ["case0", "case2"]
    assert "no truth" in found.failures["case1"]


def test_a_network_that_overflows_fails_its_case_alone(tmp_path: Path) -> None:
    class Overflowing(OddUnet):
        def forward(self, input: Tensor) -> Tensor:
            return (
                super().forward(input)
                * torch.where(input.abs().amax((1, 2, 3, 4)) > 1e30, torch.inf, 1.0)[
                    :, None, None, None, None
                ]
            )

    cases = make_volumes(tmp_path / "in", n=3, extra=("huge",))
    steps = make_steps(forward=ForwardPass([Overflowing()], task="mask", batch_size=3))
    summary = run(steps, cases, tmp_path / "out")
    assert (summary.ok, summary.failed) == (3, 1)
    assert "is not finite" in (tmp_path / "out" / "failures.csv").read_text()


def test_a_mask_of_background_alone_is_suspicious_and_written(tmp_path: Path) -> None:
    class Nothing(nn.Module):
        def forward(self, input: Tensor) -> Tensor:
            return torch.cat([input * 0 + 1, input * 0, input * 0], dim=1)

    cases = make_volumes(tmp_path / "in", n=1)
    summary = run(
        make_steps(forward=ForwardPass([Nothing()], task="mask", batch_size=2)), cases, tmp_path / "out"
    )
    assert summary.suspicious == 1
    assert "nothing found" in (tmp_path / "out" / "remarks.csv").read_text()
    assert (tmp_path / "out" / "case0.bin").exists()


def test_a_predictor_counts_voxels_by_class(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path, n=2)
    predictor = Predictor(make_steps(), TargetSpec(kind="mask", classes=CLASSES))
    rows = predictor.predict(tmp_path)
    for case, row in zip(cases, rows, strict=True):
        mask = predictor.result(case).mask
        assert mask is not None
        assert row["case"] == case.id
        assert row["voxels"] == {name: int((mask == k).sum()) for k, name in enumerate(CLASSES)}
        assert row["flags"] == []


def maps_of(forward: ForwardPass, seed: int = 0) -> tuple[Tensor, Tensor]:
    row = torch.randn(1, *PATCH, generator=torch.Generator().manual_seed(seed))
    return row, torch.as_tensor(forward.batch([row]))[0]


def test_members_and_flips_are_averaged_as_logits_on_the_inputs_grid() -> None:
    networks = [OddUnet(0), OddUnet(1)]
    names = ("flip-0", "flip-1-2")
    row, found = maps_of(ForwardPass(networks, task="mask", batch_size=2, tta=names))
    with torch.inference_mode():
        expected = [
            torch.flip(network(torch.flip(row[None], dims)), dims)[0]
            for network in networks
            for dims in ((), (2,), (3, 4))
        ]
    torch.testing.assert_close(found, torch.stack(expected).mean(0), rtol=0, atol=1e-5)


def test_sides_change_places_when_their_axis_is_mirrored() -> None:
    class FirstHalf(nn.Module):
        """Says left in the first half of axis 0, right in the second, whatever it sees."""

        def forward(self, input: Tensor) -> Tensor:
            place = torch.linspace(1, -1, input.shape[2])[None, None, :, None, None].expand_as(input)
            return torch.cat([0 * place, place, -place], dim=1)

    swaps = {0: ((1, 2),)}
    names: tuple[str, ...]
    for names in ((), ("flip-0",), ("flip-0", "flip-1", "flip-0-1")):
        forward = ForwardPass([FirstHalf()], task="mask", batch_size=1, tta=names, mirror_swaps=swaps)
        _, maps = maps_of(forward)
        torch.testing.assert_close(maps[1, :, 0, 0], torch.linspace(1, -1, PATCH[0]))
    _, mixed = maps_of(ForwardPass([FirstHalf()], task="mask", batch_size=1, tta=("flip-0",)))
    torch.testing.assert_close(mixed, torch.zeros_like(mixed))


def test_a_network_that_gives_its_input_back_does_not_change_it() -> None:
    forward = ForwardPass([nn.Identity(), nn.Identity()], task="mask", batch_size=1, tta=("flip-0",))
    row, maps = maps_of(forward)
    again, _ = maps_of(forward)
    assert torch.equal(row, again)
    torch.testing.assert_close(maps, row)


def test_masks_refuse_a_fusion_of_probabilities() -> None:
    with pytest.raises(ConfigError, match="means nothing for masks"):
        ForwardPass([OddUnet()], task="mask", batch_size=1, fusion="max")


@pytest.mark.slow  # a process of its own
def test_a_killed_run_ends_with_the_same_bytes(tmp_path: Path) -> None:
    cases = make_volumes(tmp_path / "in", n=5)
    run(make_steps(), cases, tmp_path / "whole")
    command = [
        sys.executable,
        "-m",
        "tests.core.inference.mask_fakes",
        str(tmp_path / "in"),
        str(tmp_path / "out"),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(2):
            process.stdout.readline()
        process.kill()
    with Ledger.open(tmp_path / "out", IDENTITY) as ledger:
        assert any(row.done for row in ledger.rows(full=False))
    run(make_steps(), cases, tmp_path / "out")
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_remarks_on_a_source_that_is_prepared_become_flags(tmp_path: Path) -> None:
    class Remarked(VolumeSource):
        remarks = ("one slice",)

    class Reader(VolumeReader):
        def open(self, case: Any) -> VolumeSource:
            return Remarked(case)

    cases = make_volumes(tmp_path / "in")
    steps = make_steps()
    run(dataclasses.replace(steps, reader=Reader()), cases, tmp_path / "out")
    with Ledger.read(tmp_path / "out") as ledger:
        rows = list(ledger.rows())
    assert len(rows) == len(cases)
    assert all("one slice" in row.flags and row.status == "suspicious" for row in rows)
