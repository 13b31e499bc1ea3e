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
EFIGI = DatasetInfo(
    id="efigi_galaxies",
    title="EFIGI galaxies: is there a tidal perturbation?",
    description=(
        "3564 galaxies in the SDSS, colour JPEG of 88 x 88 px reduced from the EFIGI stamps, from the source "
        "repository at commit 2bd013a453ca6bda6edac4f18bf79630a70d6238; stretched, so not photometric. The "
        "label is made of EFIGI's attribute Perturbation (how far from symmetry under rotation): tidal from "
        "0.5 on, none at 0, no label at 0.25. It is the closest public label to tidal features, and not the "
        "same. meta holds the type T (-6 to 11) and the 16 attributes in steps of 0.25; there -1 is "
        "undetermined, and _inf and _sup are confidence limits. Perturbed galaxies are often late types and "
        "blue, so compare within one T too. A part of the catalogue is not listed. No mirror has these files."
    ),
    licence="none stated by the repository; SDSS images are public, EFIGI must be cited",
    citation="A. Baillard et al., The EFIGI catalogue of 4458 nearby galaxies, A&A 532 (2011) A74.",
    source="https://github.com/de-husk/automatic-galaxy-classification-tool",
    root="efigi_galaxies",
    role="image",
    splits="four folds of this copy, for cross-validation; the group is the galaxy",
    targets={"label": TargetSpec(kind="class", classes=("none", "tidal"), partial=True)},
)
EFIGI_UNLABELLED = DatasetInfo(
    id="efigi_unlabelled",
    title="Galaxies in the SDSS without labels, for pre-training",
    description=(
        "1510 colour JPEG cut-outs of 88 x 88 px beside those of efigi_galaxies, with positions in meta "
        "(degrees). They may show some galaxies of that set, so use no labels made from them there."
    ),
    licence=EFIGI.licence,
    citation="Sloan Digital Sky Survey.",
    source=EFIGI.source,
    root="efigi_galaxies",
    role="image",
    splits="none; the group is the cut-out",
)
QUIJOTE = DatasetInfo(
    id="quijote_density",
    title="Quijote: maps of the matter density with their cosmological parameters",
    description=(
        "159 maps, each 500 x 500 x 10 (Mpc/h)^3 of a simulation of the latin hypercube at z = 0, projected; "
        "select.row is the map's number in the one file. Recovered from rendered figures (commits "
        "b5ff9e5c204561c653c1dd75a8285442dd2e3142 and 1e2472547993113673ca16d8fcec403567ea18c2), so of 256 "
        "levels and 369 x 368 px; log10(rho / mean) = log10(0.5) + v / 255 (3 - log10(0.5)), and v = 0 is "
        "all below. meta holds the three other parameters. Simulations from 160 on are not listed. No mirror "
        "has this file."
    ),
    licence="MIT",
    citation="F. Villaescusa-Navarro et al., The Quijote simulations, ApJS 250 (2020) 2.",
    source="https://github.com/franciscovillaescusa/Quijote-simulations",
    root="quijote_density",
    role="image",
    splits="five folds of this copy, for cross-validation; the group is the simulation",
    targets={
        "omega_m": TargetSpec(kind="number"),
        "sigma_8": TargetSpec(kind="number"),
        "parameters": TargetSpec(kind="numbers", classes=("omega_m", "sigma_8")),
    },
)
SETS = (ESC10, FSDD, BIOACOUSTIC, CORN_LEAF, OMNIGLOT, HIPPOCAMPUS, EFIGI, EFIGI_UNLABELLED, QUIJOTE)


def index_rows(folder: Path, name: str = "index.csv") -> list[dict[str, str]]:
    """Rows of a set's table."""
    with (folder / name).open(encoding="utf-8", newline="") as file:
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


def galaxy_of(folder: Path, row: dict[str, str]) -> Case:
    """One labelled galaxy; a slight perturbation leaves it without a label."""
    perturbation = float(row["Perturbation"])
    label = "tidal" if perturbation >= 0.5 else "none"
    return Case(
        id=row["group"],
        files={"image": FileRef(path=folder / row["path"])},
        targets={} if perturbation == 0.25 else {"label": label},
        group=row["group"],
        split=row["fold"],
        meta={name: text for name, text in row.items() if name not in ("path", "fold", "group")},
    )


def stamp_of(folder: Path, row: dict[str, str]) -> Case:
    """One galaxy without a label."""
    name = f"stamp-{Path(row['path']).stem}"
    position = {key: row[key] for key in ("ra_deg", "dec_deg")}
    return Case(id=name, files={"image": FileRef(path=folder / row["path"])}, group=name, meta=position)


def maps_of(folder: Path, rows: list[dict[str, str]]) -> list[Case]:
    """The density maps, which are rows of one file."""
    file = FileRef(path=folder / "fields.npz", sha256=sha256_file(folder / "fields.npz"))
    cases = []
    for row in rows:
        name = f"sim-{int(row['sim_id']):04d}"
        both = tuple(round(float(row[parameter]), 6) for parameter in ("Omega_m", "sigma_8"))
        case = Case(
            id=name,
            files={"image": file},
            select={"row": int(row["row"])},
            targets={"omega_m": both[0], "sigma_8": both[1], "parameters": both},
            group=name,
            split=row["fold"],
            meta={parameter: f"{float(row[parameter]):.6g}" for parameter in ("Omega_b", "h", "n_s")},
        )
        cases.append(case)
    return cases


ONE_CASE_A_ROW = {"corn_leaf": leaf_of, "hippocampus_mri": volume_of, "efigi_galaxies": galaxy_of}


def cases_of(info: DatasetInfo, folder: Path) -> list[Case]:
    """All cases of a set."""
    if info.id == "efigi_unlabelled":
        return [stamp_of(folder, row) for row in index_rows(folder, "unlabelled.csv")]
    rows = index_rows(folder)
    if info.id in ONE_CASE_A_ROW:
        return [ONE_CASE_A_ROW[info.id](folder, row) for row in rows]
    if info.id == "quijote_density":
        return maps_of(folder, rows)
    if info.id == "omniglot_small":
        return characters_of(folder, rows)
    if info.id == "esc10":
        meta: tuple[str, ...] = ("clip_licence",)
        return [case_of(folder, row, group=row["group"], split=row["fold"], meta=meta) for row in rows]
    if info.id == "fsdd":
        meta = ("take", "n_samples")
        return [case_of(folder, row, group=row["group"], split="", meta=meta) for row in rows]
    meta = ("sample_rate", "n_samples", "channels", "licence")
    return [case_of(folder, row, group=array_of(row), split="", meta=meta) for row in rows]


def targets_of(info: DatasetInfo, cases: list[Case]) -> dict[str, TargetSpec]:
    """The set's own targets, else the classes that occur."""
    return info.targets or {name: classes_of(info, cases, name) for name in cases[0].targets}


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
    for info in SETS:
        copy = root / info.root
        cases = cases_of(info, copy)
        full = info.model_copy(update={"targets": targets_of(info, cases)})
        local = full.model_copy(update={"root": str(copy.resolve())})  # where the files are while hashing
        manifest = Manifest.create(local, cases, folder=HERE / info.id)
        Manifest(full, manifest.cases, manifest.folder).save(HERE / info.id, overwrite=True)
        sys.stdout.write(f"{info.id}: {len(cases)} cases, digest {manifest.digest}\n")


if __name__ == "__main__":
    main()
