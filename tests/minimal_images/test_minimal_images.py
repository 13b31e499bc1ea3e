"""A field of its own in 250 lines keeps the whole contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Region
from tessera.core.data.make import make_manifest
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError
from tessera.core.pipeline import Pipeline, discover
from tessera.core.testing import contract
from tessera.core.training.study import run_study
from tessera.core.training.study_config import Arm, StudyConfig

COLOURS = {"blue": (30, 40, 220), "red": (220, 40, 30)}
SIZES = ((20, 31), (33, 24), (24, 24))  # columns and rows


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images of two classes in folders named by class, as PNG and JPEG."""
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        for number in range(6):
            columns, rows = SIZES[number % 3]
            noise = rng.integers(0, 30, (rows, columns, 3))
            file = tmp_path / "images" / name / f"{name}{number}.{'png' if number % 2 else 'JPG'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.array(colour) + noise).astype(np.uint8)).save(file)
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


@pytest.fixture
def manifest(images: Pipeline, folder: Path) -> Manifest:
    return make_manifest(
        reader=images.resolve("reader")(None),
        folder=folder,
        out=folder.parent / "colours",
        title="colours",
        licence="CC0-1.0",
    ).manifest


def test_it_is_found_by_the_variable_and_not_without_it(
    images: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert discover()["minimal-images"] is images
    monkeypatch.delenv("TESSERA_PIPELINES")
    discover.cache_clear()
    assert "minimal-images" not in discover()


def test_it_says_what_it_is_and_no_preset_escapes(images: Pipeline) -> None:
    contract.check_pipeline(images)
    contract.check_nothing_escapes([images])


@pytest.mark.parametrize("preset", ["smoke", "gates"])
def test_a_preset_keeps_the_contract(images: Pipeline, preset: str) -> None:
    contract.check_preset(images, preset)
    config = contract.load_preset(images, preset)
    contract.check_network(images, config)
    contract.check_gradients(images, config)
    contract.check_state_dict(images, config)
    contract.check_transforms(images, config)


@pytest.mark.slow
def test_the_network_can_be_exported(images: Pipeline) -> None:
    contract.check_export(images, contract.load_preset(images, "gates"))


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_read_and_written(
    images: Pipeline, manifest: Manifest, tmp_path: Path, channels: int
) -> None:
    config = contract.load_preset(images, "smoke", data={"channels": channels, "size": (24, 20)})
    contract.check_reading(images, config, manifest.cases)
    contract.check_writing(images, config, manifest.cases, tmp_path / "out")


def test_a_manifest_of_images_is_verified(manifest: Manifest, folder: Path) -> None:
    assert len(manifest.cases) == 12
    assert manifest.verify() == []
    (folder / "red" / "red1.png").write_bytes(b"cut")
    (problem,) = manifest.verify()
    assert problem.path == "red/red1.png"


def test_pixels_keep_their_colour_and_place(images: Pipeline, manifest: Manifest) -> None:
    reader = images.resolve("reader")(None)
    source = reader.open(next(case for case in manifest.cases if case.id.startswith("red/red1")))
    values = source.read()["input"]
    assert values.shape == (3, 24, 33)
    expected = np.asarray(Image.open(source_path(manifest, "red/red1"))).transpose(2, 0, 1) / 255
    np.testing.assert_allclose(values.numpy(), expected, atol=1e-7)
    windows = images.resolve("windows")(contract.load_preset(images, "smoke"))
    sample = windows.read(source, Region((0, 0), (24, 33)))
    assert sample["geometry"].invert([[24, 24]]).tolist() == [[24.0, 33.0]]
    np.testing.assert_allclose(sample["input"].mean((1, 2)), values.mean((1, 2)), atol=5e-3)


def source_path(manifest: Manifest, start: str) -> Path:
    return next(case for case in manifest.cases if case.id.startswith(start)).path("image")


def test_a_row_of_packed_bits_is_an_image(images: Pipeline, tmp_path: Path) -> None:
    ink = np.zeros((2, 5, 3), dtype=np.uint8)
    ink[1, 4, 0] = 1
    packed = np.packbits(ink.reshape(2, -1), axis=1)
    np.savez(tmp_path / "images.npz", packed=packed, shape=np.array(ink.shape))
    file = FileRef(path=tmp_path / "images.npz")
    case = Case(id="a", files={"image": file}, select={"row": "1"}, group="a")
    values = images.resolve("reader")(None).open(case).read()["input"]
    torch.testing.assert_close(values, torch.from_numpy(1.0 - ink[1]).float().expand(3, 5, 3))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", b"words"])
def test_what_is_no_image_is_told_with_its_path(images: Pipeline, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.png").write_bytes(content)
    reader = images.resolve("reader")(None)
    (case,) = reader.find(tmp_path)
    with pytest.raises(DataError, match=r"cannot read .*x\.png"):
        reader.open(case)


def test_a_flip_turns_both_axes_and_a_shift_repeats_the_border(images: Pipeline) -> None:
    apply = images.resolve("transforms")(contract.load_preset(images, "gates")).apply
    input = torch.arange(24.0).reshape(2, 1, 3, 4)
    none = torch.zeros(2, 2, dtype=torch.long)
    flipped = apply(input, (torch.tensor([[-1, 1], [1, -1]]), none))
    torch.testing.assert_close(flipped, torch.stack([input[0].flip(1), input[1].flip(2)]))
    shifted = apply(input, (torch.ones(2, 2), torch.tensor([[1, 0], [0, -1]])))
    torch.testing.assert_close(shifted[0, 0], input[0, 0, [0, 0, 1]])
    torch.testing.assert_close(shifted[1, 0], input[1, 0][:, [1, 2, 3, 3]])


def test_changes_are_drawn_for_each_image_and_only_where_asked(images: Pipeline) -> None:
    transforms = images.resolve("transforms")
    shape, generator = torch.Size((64, 3, 20, 40)), torch.Generator().manual_seed(1)
    flips, shifts = transforms(contract.load_preset(images, "gates")).draw(shape, generator)
    assert all(20 < int((flips[:, axis] < 0).sum()) < 44 for axis in range(2))
    assert shifts.abs().amax(0).tolist() == [2, 4]
    flips, shifts = transforms(contract.load_preset(images, "smoke")).draw(shape, generator)
    assert bool((flips == 1).all())
    assert not shifts.any()


@pytest.mark.slow
def test_a_study_trains_it(images: Pipeline, manifest: Manifest, tmp_path: Path) -> None:
    study = StudyConfig(
        id="colours",
        title="Red and blue",
        pipeline="minimal-images",
        data=str(manifest.folder),
        n_folds=3,
        folds=("1",),
        set={"data.val_fraction": 0.0, "trainer.max_epochs": 8},
        arms=(
            Arm(preset="smoke", name="plain"),
            Arm(preset="smoke", name="eca", set={"model.encoder.gate": "eca"}),
        ),
    )
    plain, eca = run_study(study, out=tmp_path / "runs")
    assert plain.metrics["accuracy"].startswith("1.000")
    assert eca.difference.startswith("+0.000")
    assert eca.parameters == plain.parameters + 2 * 3  # two blocks, kernels of 3
