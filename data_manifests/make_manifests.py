"""Write the manifests of the real sets from their local copies below TESSERA_DATA_ROOT.

Each copy is a folder with an index.csv (path, label, group, fold, more); titles, licences and sources below
are those of the sets' own README files.
"""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.hashing import sha256_file
from tessera.core.data.locate import data_root
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

HERE = Path(__file__).resolve().parent

ESC10 = DatasetInfo(
    id="esc10",
    title="ESC-10: environmental sounds, 10 classes, folds 1 to 4",
    description=(
        "320 clips of 5 s, 44.1 kHz, mono, Ogg Vorbis, 32 a class; many are padded with zeros to 5 s. "
        "Files are byte-identical to the source repository at commit "
        "553c8f1743b9dba6b282e1323c3ca8fa76923448, but moved into one folder, so no mirror has these "
        "paths. The official fold 5 is not listed."
    ),
    licence="CC BY 3.0; single clips CC0, CC BY or Sampling+, see meta.clip_licence",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015.",
    source="https://github.com/karolpiczak/ESC-10",
    root="esc10",
    role="audio",
    splits="official folds 1 to 4; clips of one Freesound recording share a group and a fold",
)
FSDD = DatasetInfo(
    id="fsdd",
    title="Free Spoken Digit Dataset: digits 0 to 9 by five speakers",
    description=(
        "2250 recordings, 8 kHz, mono, 16 bit, trimmed; 10 digits x 5 speakers x 45 takes. WAV of the source "
        "repository at commit 26eb9aaf76e81b692f806f9140c2d2777410d7a1 re-packed as FLAC without loss, so "
        "no mirror has these files. One speaker and the official test takes are not listed."
    ),
    licence="CC BY-SA 4.0",
    citation="Free Spoken Digit Dataset (FSDD), Jakobovski/free-spoken-digit-dataset on GitHub.",
    source="https://github.com/Jakobovski/free-spoken-digit-dataset",
    root="fsdd",
    role="audio",
    splits="none; the group is the speaker, so five folds leave one speaker out each",
)
BIOACOUSTIC = DatasetInfo(
    id="bioacoustic_samples",
    title="A few animal and reef recordings, for trying things out",
    description=(
        "22 recordings: a ruffed grouse drumming, a great plains toad, 11 channels of two recorder arrays, 9 "
        "fish sounds of coral reefs. From opensoundscape at commit 8b582152c91df6f1d4387b23e1ca849be70f4cea "
        "(tests/audio) and perch at commit b216270c0220c47318ba25b4b11a5c80951315cd (fish_audio_queries), "
        "re-packed as FLAC, so there is no mirror with these files. No class balance: not for benchmarks."
    ),
    licence="MIT (opensoundscape) and Apache-2.0 (perch), see meta.licence",
    citation="opensoundscape (kitzeslab) and perch (google-research).",
    source="https://github.com/kitzeslab/opensoundscape and https://github.com/google-research/perch",
    root="bioacoustic_samples",
    role="audio",
    splits="none; the channels of one recorder array share a group",
)
CORN_LEAF = DatasetInfo(
    id="corn_leaf",
    title="Maize leaves: blight, common rust, grey leaf spot, healthy",
    description=(
        "880 photographs, 220 a class, longest side at most 256 px, JPEG of quality 90. From the source "
        "repository at commit 3e81d9a6c1dd1cc0a8914b7ed71232e450f10cfc, resized, so no mirror has these "
        "files; a part of it is not listed. 87 pictures were taken in the field (meta.origin_guess), none of "
        "them of class healthy, which the background can therefore give away."
    ),
    licence="repository CC0 1.0; images collected from PlantVillage (CC BY-SA 3.0) and PlantDoc (CC BY 4.0)",
    citation="smaranjitghose/corn_pathology_ai on GitHub; PlantVillage; PlantDoc.",
    source="https://github.com/smaranjitghose/corn_pathology_ai",
    root="corn_leaf",
    role="image",
    splits="four folds of this copy, for cross-validation; plants are not known, so each picture is a group",
)
OMNIGLOT = DatasetInfo(
    id="omniglot_small",
    title="Omniglot: 176 characters of 6 alphabets by 20 drawers",
    description=(
        "3520 one-bit images of 105 x 105 px, packed into one file; select.row is the image's number there. "
        "From the source repository at commit 057f034baf2ecb8530bc5710e5a23584d2a519cc "
        "(python/images_background_small1.zip and small2.zip), re-packed, so no mirror has this file. Two "
        "alphabets are not listed."
    ),
    licence="MIT",
    citation="B. M. Lake et al., Human-level concept learning through probabilistic program induction, 2015.",
    source="https://github.com/brendenlake/omniglot",
    root="omniglot_small",
    role="image",
    splits="five folds of this copy; the group is the drawer, and no drawer is in two folds",
)
HIPPOCAMPUS = DatasetInfo(
    id="hippocampus_mri",
    title="Hippocampus in MR: anterior and posterior part",
    description=(
        "211 cropped MR volumes of about 35 x 50 x 36 voxels of 1 mm, task 4 of the Medical Segmentation "
        "Decathlon, unchanged NIfTI files from the copy at commit "
        "895fee683624aafe2033521f4d9b6d99accd66d5. Intensities differ in scale between volumes. Some of the "
        "cases are not listed."
    ),
    licence="CC BY-SA 4.0 (the Decathlon's data; the copying repository is MIT)",
    citation="Antonelli et al., The Medical Segmentation Decathlon, Nature Communications 13 (2022) 4128.",
    source="https://github.com/udacity/nd320-c3-3d-imaging-starter",
    root="hippocampus_mri",
    role="image",
    splits="four folds of this copy, for cross-validation; the group is the case, patients are not known",
)


def index_rows(folder: Path) -> list[dict[str, str]]:
    """Rows of a set's index.csv."""
    with (folder / "index.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def case_of(
    folder: Path, row: dict[str, str], *, group: str, split: str, meta: tuple[str, ...], role: str = "audio"
) -> Case:
    """One file of an index."""
    path = folder / row["path"]
    return Case(
        id=path.stem,
        files={role: FileRef(path=path)},
        targets={"label": row["label"]},
        group=group,
        split=split,
        meta={name: row[name] for name in meta},
    )


def array_of(row: dict[str, str]) -> str:
    """Group of a bioacoustic sample: the recorder array, else the file."""
    return row["label"] if row["label"].endswith("_array_channel") else Path(row["path"]).stem


def leaf_of(folder: Path, row: dict[str, str]) -> Case:
    """One photograph of a leaf; files of two classes share their names."""
    name = f"{row['label']}-{Path(row['path']).stem}"
    case = case_of(folder, row, group=name, split=row["fold"], meta=("origin_guess",), role="image")
    return replace(case, id=name)


def characters_of(folder: Path, rows: list[dict[str, str]]) -> list[Case]:
    """The drawn characters, which are rows of one file."""
    file = FileRef(path=folder / "images.npz", sha256=sha256_file(folder / "images.npz"))
    return [
        Case(
            id=f"{row['label']}/{row['drawer']}",
            files={"image": file},
            select={"row": int(row["row"])},
            targets={"label": row["label"], "alphabet": row["alphabet"]},
            group=f"drawer-{row['drawer']}",
            split=row["fold"],
        )
        for row in rows
    ]


def volume_of(folder: Path, row: dict[str, str]) -> Case:
    """One volume with its mask."""
    return Case(
        id=row["group"],
        files={"image": FileRef(path=folder / row["path"])},
        targets={"label": FileRef(path=folder / row["label"])},
        group=row["group"],
        split=row["fold"],
    )


def cases_of(info: DatasetInfo, folder: Path) -> list[Case]:
    """All cases of a set."""
    rows = index_rows(folder)
    if info.id == "corn_leaf":
        return [leaf_of(folder, row) for row in rows]
    if info.id == "omniglot_small":
        return characters_of(folder, rows)
    if info.id == "hippocampus_mri":
        return [volume_of(folder, row) for row in rows]
    if info.id == "esc10":
        meta: tuple[str, ...] = ("clip_licence",)
        return [case_of(folder, row, group=row["group"], split=row["fold"], meta=meta) for row in rows]
    if info.id == "fsdd":
        meta = ("take", "n_samples")
        return [case_of(folder, row, group=row["group"], split="", meta=meta) for row in rows]
    meta = ("sample_rate", "n_samples", "channels", "licence")
    return [case_of(folder, row, group=array_of(row), split="", meta=meta) for row in rows]


def classes_of(info: DatasetInfo, cases: list[Case], target: str) -> TargetSpec:
    """The classes that occur; those of masks stand in no table."""
    if info.id == "hippocampus_mri":
        return TargetSpec(kind="mask", classes=("background", "anterior", "posterior"))
    return TargetSpec(kind="class", classes=tuple(sorted({str(case.targets[target]) for case in cases})))


def main() -> None:
    """Hash the local copies and write the manifests beside this file."""
    root = data_root()
    if root is None:
        raise DataError("TESSERA_DATA_ROOT is not set", hint="set it to the folder that holds esc10 and fsdd")
    for info in (ESC10, FSDD, BIOACOUSTIC, CORN_LEAF, OMNIGLOT, HIPPOCAMPUS):
        copy = root / info.root
        cases = cases_of(info, copy)
        full = info.model_copy(
            update={"targets": {name: classes_of(info, cases, name) for name in cases[0].targets}}
        )
        local = full.model_copy(update={"root": str(copy.resolve())})  # where the files are while hashing
        manifest = Manifest.create(local, cases, folder=HERE / info.id)
        Manifest(full, manifest.cases, manifest.folder).save(HERE / info.id, overwrite=True)
        sys.stdout.write(f"{info.id}: {len(cases)} cases, digest {manifest.digest}\n")


if __name__ == "__main__":
    main()
