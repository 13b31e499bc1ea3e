"""Files and table of masks, each on its input's own grid.

``masks/<case>.nii.gz`` (or ``.nrrd``, ``.mha``): the place in the list of classes of each voxel, uint8 or
uint16, in the shape of the input. From a NIfTI input the sform and the qform come with their codes in the
same bits; from other inputs both say the same place, code 1. Nothing else of the input's header is taken.

``seg/<case>.dcm``: a DICOM-SEG of the same, for inputs that are DICOM series and masks that are not empty.

``volumes.csv``, one row a case and class without the background, sorted by case_id:
    case_id; class; voxels; volume_ml (three digits after the point: 1 mm3);
    remarks (joined by ``|``): the case's flags, and why there is no DICOM-SEG where one was asked for.

``thumbnails/<case>.png``, ``contact-sheet.png`` and ``summary.csv``: what ``contact_sheet`` describes.

Tables are UTF-8 with lines ending in CR LF (RFC 4180). The same result gives the same bytes.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.data.targets import TAG_SEPARATOR, TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.interfaces import CaseResult, Outcome, Written
from tessera.medical import itk_files, nifti
from tessera.medical.agreement import TOLERANCE, displacement_mm
from tessera.medical.anonymise import Pseudonyms
from tessera.medical.contact_sheet import HEAD, SUMMARY, THUMBNAILS, write_sheets, write_summary
from tessera.medical.dicom_seg import MaskOrigin, write_seg
from tessera.medical.dicom_series import series_layout
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.output_config import VolumeOutput
from tessera.medical.pictures import UprightScan, holds_ct, palette_png, scale_for, three_planes
from tessera.medical.quality import mask_remarks, scan_remarks
from tessera.medical.readers import VolumeReader, VolumeSource
from tessera.medical.scan_facts import look_at, unlike
from tessera.medical.seen_scans import SeenScans
from tessera.medical.stored_volume import Stored
from tessera.medical.volume_files import SUFFIXES, image_files, is_nifti, is_volume_file

if TYPE_CHECKING:
    from tessera.core.bundle.card import Calibration
    from tessera.core.run_config import RunConfig

ENDINGS = {"nifti": ".nii.gz", "nrrd": ".nrrd", "mha": ".mha"}
COLUMNS = ("case_id", "class", "voxels", "volume_ml", "remarks")
EMPTY, NO_DICOM = "no DICOM-SEG: empty mask", "no DICOM-SEG: the input is no DICOM series"
LONGEST_NAME = 80  # characters of a part of a file's name
MM3_PER_ML = 1000.0
_PLAIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._-]{{0,{LONGEST_NAME - 1}}}")


@dataclass(frozen=True, kw_only=True)
class Found:
    """What was made of a case's mask beside its files.

    Args:
        files: Relative to the output folder.
        flags: Remarks.
        cells: Further cells of the case's row in the summary, by column.
    """

    files: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    cells: Mapping[str, Any] = field(default_factory=dict)


class VolumeWriter:
    """Writes the files that this module's first lines describe.

    Args:
        config: The run's.
        target: The mask's classes.
        options: Formats and anonymisation.
        calibration: Not used: a mask has no thresholds.
        model_digest: Of the weights; goes into the UIDs of DICOM-SEG.
    """

    def __init__(
        self,
        config: RunConfig,
        target: TargetSpec,
        *,
        options: VolumeOutput | None = None,
        calibration: Calibration | None = None,
        model_digest: str = "",
    ) -> None:
        del calibration
        if target.kind != "mask":
            raise ConfigError(
                "a writer of volumes writes masks", found=f"a target of kind {target.kind}", expected="mask"
            )
        self.options = options or VolumeOutput()
        self.classes = target.classes
        name = f"{config.pipeline} {config.preset}"
        digest = hashlib.sha256(f"{model_digest}\0{config.model_dump_json()}".encode()).hexdigest()
        self.origin = MaskOrigin(name=name, version=_own_version(), digest=digest)
        self.reader = VolumeReader(config)
        self.seen: SeenScans | None = getattr(config, "scans", None)
        self.is_ct, self.scale = holds_ct(config), scale_for(config)

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the summary, after shape and spacing: voxels and millilitres of each class."""
        return tuple(f"{unit}_{name}" for name in self.classes[1:] for unit in ("voxels", "ml"))

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write one case's masks and return its rows."""
        mask, grid = _mask_of(result)
        rows = self._rows(result.case, mask, grid)
        paths = image_files(result.case)
        name = output_name(result.case.id)
        files = []
        for kind, ending in ENDINGS.items():
            if kind in self.options.formats:
                files.append(f"masks/{name}{ending}")
                write_mask(out / files[-1], mask, grid, like=paths[0])
        remarks = []
        if "dicom-seg" in self.options.formats:
            refused = self._write_seg(result.case, paths, mask, out / f"seg/{name}.dcm", out)
            if refused:
                remarks.append(refused)
            else:
                files.append(f"seg/{name}.dcm")
        found = self.measure(mask, grid, out, name)
        flags = (*found.flags, *self._look(result.case, mask, out / f"{THUMBNAILS}/{name}.png"))
        files += (*found.files, f"{THUMBNAILS}/{name}.png")
        summary = _summary(grid, rows, found)
        for row in rows:
            row["remarks"] = TAG_SEPARATOR.join(dict.fromkeys((*result.flags, *flags, *remarks)))
        return Written(tuple(files), {"volumes": rows, "summary": [summary]}, flags)

    def measure(self, mask: Stored, grid: VolumeGeometry, out: Path, name: str) -> Found:
        """What else is made of a mask; ``name`` is that of its files."""
        del out, name
        return Found(flags=mask_remarks(mask, self.classes, grid=grid))

    def _look(self, case: Case, mask: Stored, path: Path) -> tuple[str, ...]:
        """Write the case's picture and return the remarks on its scan."""
        source = self.reader.open(case)
        try:
            picture = three_planes(UprightScan(source, mask), self.scale)
            with replacing(path) as temporary:
                temporary.write_bytes(palette_png(picture))
            return self.look(source, mask)
        finally:
            source.close()

    def look(self, source: VolumeSource, mask: Stored) -> tuple[str, ...]:
        """Remarks on a scan; its mask may help."""
        del mask
        unlike_training = () if self.seen is None else unlike(look_at(source), self.seen)
        return (*scan_remarks(source, ct=self.is_ct), *unlike_training)

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write the table of volumes in one pass."""
        with (
            replacing(out / "volumes.csv") as temporary,
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
        ):
            table = csv.writer(text)
            table.writerow(COLUMNS)
            for _, written in cases:
                for row in written.rows["volumes"]:
                    table.writerow(row[column] for column in COLUMNS)
        return ("volumes.csv",)

    def collect_outcomes(self, outcomes: Iterator[Outcome], out: Path) -> tuple[str, ...]:
        """Write the summary and the contact sheets, which list every case."""
        tiles = write_summary(outcomes, out, (*HEAD[3:], *self.columns))
        return (*write_sheets(tiles, out), SUMMARY)

    def _write_seg(self, case: Case, paths: tuple[Path, ...], mask: Stored, path: Path, out: Path) -> str:
        """Write the DICOM-SEG; the reason when there is none."""
        if is_volume_file(paths[0]):
            if self.options.formats == ("dicom-seg",):
                raise DataError(
                    f"case {case.id} cannot be answered as DICOM-SEG",
                    found=paths[0].name,
                    expected="a DICOM series: a DICOM-SEG refers to its images",
                    hint="add nifti to the formats",
                )
            return NO_DICOM
        written = write_seg(
            path,
            mask,
            series_layout(paths, name=f"case {case.id}"),
            classes=self.classes,
            origin=self.origin,
            omit_empty_frames=self.options.omit_empty_frames,
            pseudonyms=self._pseudonyms(out),
            case_id=case.id,
        )
        return "" if written else EMPTY

    def _pseudonyms(self, out: Path) -> Pseudonyms | None:
        if self.options.anonymise != "pseudo":
            return None
        out = out.resolve()
        folder = (self.options.pseudonyms or out.with_name(f"{out.name}.pseudonyms")).resolve()
        if folder.is_relative_to(out):
            raise ConfigError(
                "the list of who is who must not lie among the outputs",
                found=folder,
                expected=f"a folder outside {out}",
                hint="--pseudonyms FOLDER",
            )
        return Pseudonyms.open(folder)

    def _rows(self, case: Case, mask: Stored, grid: VolumeGeometry) -> list[dict[str, Any]]:
        """Volumes of the classes; refuses a mask that holds what is no class."""
        counts = np.zeros(2**16, dtype=np.int64)
        for plane in mask:
            part = np.bincount(plane.ravel())
            counts[: len(part)] += part
        if counts[len(self.classes) :].any():
            raise DataError(
                f"case {case.id}: the mask holds what is no class",
                found=f"values up to {int(np.flatnonzero(counts)[-1])}",
                expected=f"0 to {len(self.classes) - 1}",
            )
        return [
            {
                "case_id": case.id,
                "class": name,
                "voxels": int(counts[number]),
                "volume_ml": f"{counts[number] * grid.voxel_mm3 / MM3_PER_ML:.3f}",
            }
            for number, name in enumerate(self.classes)
            if number
        ]


def _summary(grid: VolumeGeometry, rows: list[dict[str, Any]], found: Found) -> dict[str, Any]:
    """The case's row in the summary, from its rows in the table of volumes."""
    row: dict[str, Any] = {
        "shape": "x".join(map(str, grid.shape)),
        "spacing_mm": "x".join(f"{step:.6g}" for step in grid.spacing),
    }
    for one in rows:
        row |= {f"voxels_{one['class']}": one["voxels"], f"ml_{one['class']}": one["volume_ml"]}
    return row | dict(found.cells)


def write_mask(path: Path, mask: Stored, grid: VolumeGeometry, *, like: Path) -> None:
    """Write a mask (I, J, K) in the place of its input; the ending chooses the format.

    Args:
        path: Where to, ending in ``.nii``, ``.nii.gz``, ``.nrrd`` or ``.mha``.
        mask: Class of each voxel, uint8 or uint16.
        grid: The input's grid.
        like: The input's file, or one of a series, whose header is followed.
    """
    if is_nifti(path):
        if not is_nifti(like):
            nifti.write_nifti(path, mask, nifti.new_header(grid))
            return
        header = nifti.read_header(like)
        _check_unchanged(like, nifti.grid_of(header, like), grid)
        flat = header.get_data_shape()[2:] == ()  # a single slice without a third axis
        nifti.write_nifti(path, mask[..., 0] if flat else mask, nifti.grid_header(header))
        return
    itk = None
    if is_volume_file(like) and not is_nifti(like):
        itk = itk_files.read_header(like)
        _check_unchanged(like, itk_files.grid_of(itk, like), grid)
    itk_files.write_itk(path, mask, grid, like=itk)


def output_name(case_id: str) -> str:
    """A case's file name below a folder of outputs: its id without an image's ending, safe on any system.

    Parts of the id that are unusual as file names are replaced, and told apart by a hash.
    """
    for suffix in SUFFIXES:
        if case_id.lower().endswith(suffix) and len(case_id) > len(suffix):
            case_id = case_id[: -len(suffix)]
            break
    return "/".join(_safe(part) for part in PurePosixPath(case_id).parts)


def _safe(part: str) -> str:
    if _PLAIN.fullmatch(part):
        return part
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", part)[:LONGEST_NAME].strip("._-")
    digest = hashlib.sha256(part.encode("utf-8", "surrogateescape")).hexdigest()
    return f"{readable}-{digest[:12]}".lstrip("-")


def _mask_of(result: CaseResult) -> tuple[Stored, VolumeGeometry]:
    if not isinstance(result.grid, VolumeGeometry):
        raise TypeError(f"volumes need a VolumeGeometry, not {type(result.grid).__name__}")
    mask = result.mask
    if mask is None or mask.shape != result.grid.shape or mask.dtype not in (np.uint8, np.uint16):
        found = None if mask is None else (mask.dtype, mask.shape)
        raise TypeError(f"case {result.case.id}: expected a mask uint8 {result.grid.shape}, not {found}")
    return mask, result.grid


def _check_unchanged(path: Path, now: VolumeGeometry, then: VolumeGeometry) -> None:
    if now.shape != then.shape or displacement_mm(now, then) > TOLERANCE * min(now.spacing):
        raise DataError(f"{path} lies elsewhere than when it was read", hint="run again")


def _own_version() -> str:
    try:
        return version("tessera-medical")
    except PackageNotFoundError:
        return "0"
