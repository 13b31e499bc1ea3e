"""What a scan looks like beside the training scans, on volumes whose percentiles are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.planning.data_config import AsStoredConfig, CTConfig, ZScoreConfig
from tessera.medical.readers import VolumeReader
from tessera.medical.scan_facts import (
    SIDE,
    Onlooker,
    ScanFacts,
    facts_of,
    look_at,
    modalities_of,
    sampled,
    seen_scans,
    unlike,
)

from .dicom_files import ct_values, series_datasets, write_series

CT = CTConfig(low=-1000, high=500, mean=0, std=1)
CHEST = ScanFacts((0.7, 0.7, 1.0), (350.0, 350.0, 300.0), ((-1000.0, -850.0, 200.0),))
OTHER = ScanFacts((0.8, 0.8, 1.25), (400.0, 400.0, 320.0), ((-1024.0, -800.0, 300.0),))


def scan(folder: Path, values: Any, affine: Any = None, name: str = "a") -> Case:
    image = nibabel.Nifti1Image(np.asarray(values, dtype=np.int16), np.eye(4) if affine is None else affine)
    nibabel.save(image, folder / f"{name}.nii.gz")
    return Case(id=name, files={"image": FileRef(path=folder / f"{name}.nii.gz")}, group=name)


def series(folder: Path, **elements: Any) -> Case:
    write_series(folder, series_datasets(ct_values((4, 4, 3)), **elements))
    (case,) = VolumeReader().find(folder)
    return case


@given(st.integers(1, 2000))
def test_at_most_64_places_are_looked_at_and_small_axes_whole(n: int) -> None:
    places = np.arange(n)[sampled(n)]
    assert min(n, SIDE // 2) <= len(places) <= SIDE
    step = -(-n // SIDE)
    if n % step == 0:
        assert abs(places[0] - (n - 1 - places[-1])) <= 1  # as far from one end as from the other
    if n <= SIDE:
        assert len(places) == n


def test_percentiles_are_numpys_and_lengths_are_along_the_body(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(-1000, 500, (6, 5, 7))
    affine = np.zeros((4, 4))  # to the feet, to the right, to the front
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = (
        -3.0,
        2.0,
        1.5,
        1.0,
    )
    source = VolumeReader().open(scan(tmp_path, values, affine))
    facts = look_at(source)
    assert facts.spacing_mm == pytest.approx((2.0, 1.5, 3.0))
    assert facts.extent_mm == pytest.approx((10.0, 10.5, 18.0))
    assert facts.percentiles == (tuple(np.percentile(values, [0.5, 50, 99.5])),)


def test_slices_read_alone_give_what_the_whole_gives(tmp_path: Path) -> None:
    values = np.random.default_rng(1).integers(-1000, 500, (3, 70, 131))
    source = VolumeReader().open(scan(tmp_path, values))
    assert look_at(source) == facts_of(source.read()["input"].numpy(), source.grid)


def test_a_training_scan_is_like_the_training_scans() -> None:
    seen = seen_scans([CHEST, OTHER], [CT])
    assert (unlike(CHEST, seen), unlike(OTHER, seen)) == ((), ())
    assert seen.spacing_mm == ((0.7, 0.8), (0.7, 0.8), (1.0, 1.25))
    assert seen.values[0].median == (-850, -800)


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        ({"spacing_mm": (0.7, 0.7, 5.0)}, "spacing of 5 mm feet to head, not 1 to 1.25"),
        ({"spacing_mm": (0.3, 0.7, 1.0)}, "spacing of 0.3 mm left to right, not 0.7 to 0.8"),
        ({"extent_mm": (350.0, 350.0, 100.0)}, "extent of 100 mm feet to head, not 300 to 320"),
        ({"percentiles": ((-1000.0, -200.0, 200.0),)}, "median value -200, not -850 to -800"),
        ({"percentiles": ((0.0, -850.0, 200.0),)}, "low value 0, not -1.02e+03 to -1e+03"),
        ({"percentiles": ((-1000.0, -850.0, 3000.0),)}, "high value 3e+03, not 200 to 300"),
    ],
)
def test_what_is_far_from_all_training_scans_is_named(change: dict[str, Any], remark: str) -> None:
    seen = seen_scans([CHEST, OTHER], [CT])
    assert unlike(replace(CHEST, **change), seen) == (f"unlike the training scans: {remark}",)


@pytest.mark.parametrize(("factor", "fits"), [(1.49, True), (1.51, False), (0.67, True), (0.66, False)])
def test_half_as_much_again_is_the_limit_of_lengths(factor: float, fits: bool) -> None:
    seen = seen_scans([CHEST], [CT])
    scaled = replace(CHEST, extent_mm=tuple(mm * factor for mm in CHEST.extent_mm))
    assert len(unlike(scaled, seen)) == (0 if fits else 3)


def test_a_quarter_of_the_span_is_the_limit_of_values() -> None:
    """From -1000 to 200: 300 HU."""
    seen = seen_scans([CHEST], [CT])
    for median, n in ((-551, 0), (-549, 1), (-1149, 0), (-1151, 1)):
        assert len(unlike(replace(CHEST, percentiles=((-1000.0, median, 200.0),)), seen)) == n


def test_without_an_absolute_scale_ten_times_the_values_are_the_same_scan() -> None:
    mr = replace(CHEST, percentiles=((0.0, 100.0, 400.0),))
    bright = replace(mr, percentiles=((0.0, 1000.0, 4000.0),))
    assert unlike(bright, seen_scans([mr], [ZScoreConfig()])) == ()
    assert len(unlike(bright, seen_scans([mr], [AsStoredConfig()]))) == 2
    ct = unlike(CHEST, seen_scans([mr], [ZScoreConfig()]))  # which reaches below zero, where air is
    assert any("low value -0.833 of the span, not 0 to 0" in remark for remark in ct)


def test_an_empty_scan_is_no_division_by_zero() -> None:
    empty = replace(CHEST, percentiles=((7.0, 7.0, 7.0),))
    assert unlike(empty, seen_scans([empty], [ZScoreConfig()])) == ()


def test_channels_are_compared_one_by_one() -> None:
    two = replace(CHEST, percentiles=((0.0, 1.0, 2.0), (0.0, 10.0, 20.0)))
    seen = seen_scans([two], [AsStoredConfig(), AsStoredConfig()])
    other = replace(two, percentiles=((0.0, 1.0, 2.0), (0.0, 1.0, 20.0)))
    (remark,) = unlike(other, seen)
    assert "median value of channel 2 1, not 10 to 10" in remark


def test_modalities_are_those_of_the_files_or_else_of_the_channels_name(tmp_path: Path) -> None:
    ct, mr = series(tmp_path / "ct", series="1"), series(tmp_path / "mr", series="2", Modality="MR")
    nifti = scan(tmp_path, np.zeros((2, 2, 2)))
    assert modalities_of([ct, mr, nifti], ["image"]) == ("CT", "MR")
    assert modalities_of([nifti], ["CT"]) == ("CT",)
    assert modalities_of([nifti], ["T1"]) == ("MR",)
    assert modalities_of([nifti], ["image"]) == ()


def test_a_series_of_another_modality_is_refused_and_a_file_without_one_is_not(tmp_path: Path) -> None:
    reader = VolumeReader()
    reader.modalities = ("MR",)
    ct, nifti = series(tmp_path / "ct"), scan(tmp_path, np.zeros((2, 2, 2)))
    with pytest.raises(DataError) as error:
        reader.open(ct)
    assert error.value.found == "a DICOM series of modality CT"
    assert error.value.expected == "MR"
    assert "a bundle trained on CT" in (error.value.hint or "")
    assert reader.open(nifti).grid.shape == (2, 2, 2)
    reader.modalities = ("CT", "MR")
    assert reader.open(ct).grid.shape == (4, 4, 3)


def test_who_reads_through_an_onlooker_reads_once(tmp_path: Path) -> None:
    read, unread = (
        scan(tmp_path, ct_values((4, 5, 6))),
        scan(tmp_path, ct_values((4, 5, 6), seed=1), name="b"),
    )
    onlooker = Onlooker(VolumeReader())
    source = onlooker.open(read)
    np.testing.assert_array_equal(source.read()["input"][0], ct_values((4, 5, 6)))
    source.close()
    read.path("image").unlink()
    assert onlooker.of([read, unread])[0] == facts_of(
        ct_values((4, 5, 6)).astype(np.float32)[None], VolumeGeometry.of((4, 5, 6), np.eye(4))
    )


def test_a_training_scan_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.nii").write_bytes(b"nothing")
    case = Case(id="p7", files={"image": FileRef(path=tmp_path / "broken.nii")}, group="p7")
    with pytest.raises(DataError, match="case p7"):
        Onlooker(VolumeReader()).of([case])
