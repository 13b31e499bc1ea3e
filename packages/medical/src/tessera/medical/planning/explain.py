"""A plan as a page of text: the fingerprint, the settings, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from tessera.medical.planning.audit import Loss
from tessera.medical.planning.fingerprint import Fingerprint
from tessera.medical.planning.memory import Measured
from tessera.medical.planning.plan import VolumePlan

MOST_LOSSES = 10

Row = tuple[str, ...]


def explain(
    plan: VolumePlan,
    *,
    losses: Sequence[Loss] | None = None,
    measured: Measured | None = None,
    stages: bool = True,
) -> str:
    """The page.

    Args:
        plan: The plan.
        losses: Of the audit, when it was made.
        measured: Of one training step, when it was run.
        stages: Show those of the network; not for networks that are not planned stage by stage.
    """
    found = plan.fingerprint
    parts = [
        _section(f"Fingerprint of {len(found.cases)} training cases", _images(found)),
        _section("Intensities of the foreground, as stored", _channels(found, plan.channels)),
        _section("Classes", _classes(found, plan)),
        _section("Plan", _settings(plan, measured)),
        _section("Network", _stages(plan)) if stages else "",
        _list("Why", plan.reasons),
        _list("Look at", plan.warnings),
    ]
    if losses is not None:
        parts.append(_list("Lost at the planned spacing", _losses(losses)))
    return "\n".join(part for part in parts if part)


def _images(found: Fingerprint) -> list[Row]:
    rows: list[Row] = [("", "least", "median", "greatest")]
    for name, values in (
        ("spacing (right, front, up), mm", [case.spacing_mm for case in found.cases]),
        ("voxels that are not zero", [case.shape for case in found.cases]),
        ("share of the whole image", [(case.relative_size,) for case in found.cases]),
    ):
        spread = np.percentile(np.array(values, dtype=float), [0, 50, 100], axis=0)
        rows.append((name, *(_by(line) for line in spread)))
    return rows


def _channels(found: Fingerprint, names: Sequence[str]) -> list[Row]:
    rows: list[Row] = [("channel", "mean", "std", "median", "0.5 %", "99.5 %", "least", "greatest")]
    for name, facts in zip(names, found.channels, strict=True):
        values = (facts.mean, facts.std, facts.median, facts.low, facts.high, facts.least, facts.greatest)
        rows.append((name, *(f"{value:.4g}" for value in values)))
    return rows


def _classes(found: Fingerprint, plan: VolumePlan) -> list[Row]:
    voxel = float(np.prod(_network_spacing(plan)))
    rows: list[Row] = [("class", "cases", "median mm3", "parts a case", "smallest part, planned voxels")]
    for place, name in enumerate(found.classes[1:]):
        facts = [(case.classes[place], float(np.prod(case.spacing_mm))) for case in found.cases]
        facts = [(one, mm3) for one, mm3 in facts if one.voxels]
        if not facts:
            rows.append((name, "0", "", "", ""))
            continue
        volume = float(np.median([one.voxels * mm3 for one, mm3 in facts]))
        parts = float(np.median([one.components for one, _ in facts]))
        smallest = min(one.smallest_mm3 for one, _ in facts) / voxel
        rows.append((name, str(len(facts)), f"{volume:.4g}", f"{parts:g}", f"{smallest:.3g}"))
    return rows


def _settings(plan: VolumePlan, measured: Measured | None) -> list[Row]:
    spacing = " x ".join("own" if step is None else f"{step:.4g}" for step in plan.spacing_mm)
    rows: list[Row] = [
        ("planner", plan.preset),
        ("order of axes", "".join("RAS"[axis] for axis in plan.axes)),
        ("spacing, mm", spacing),
        ("median image, voxels", _by(plan.shape)),
        ("patch, voxels", _by(plan.patch)),
        ("patches a batch", str(plan.batch)),
        ("normalisation", ", ".join(scheme.kind for scheme in plan.normalisation)),
        ("mirrored axes", ", ".join("RAS"[plan.axes[axis]] for axis in plan.mirrors) or "none"),
        ("feature elements a patch", f"{plan.elements:,}"),
        ("memory of a training step", f"about {plan.training_gb:.2g} GB on a GPU with 16-bit arithmetic"),
        ("memory of a prepared case", f"{plan.case_mb:.3g} MB"),
    ]
    if measured is not None:
        rows.append(
            ("one measured step", f"{measured.seconds:.3g} s, {measured.peak_bytes / 1e9:.3g} GB at its peak")
        )
    return rows


def _stages(plan: VolumePlan) -> list[Row]:
    rows: list[Row] = [("stage", "features", "stride", "kernel", "grid")]
    size = np.array(plan.network.patch)
    net = plan.network
    for stage, (width, stride, kernel) in enumerate(zip(net.features, net.strides, net.kernels, strict=True)):
        size = size // stride
        rows.append((str(stage + 1), str(width), _by(stride), _by(kernel), _by(size)))
    return rows


def _losses(losses: Sequence[Loss]) -> list[str]:
    lines = [
        f"{loss.name} in {loss.case_id}: "
        + ("all of it" if loss.vanished else f"{loss.lost} of {loss.components} parts")
        for loss in losses[:MOST_LOSSES]
    ]
    more = len(losses) - len(lines)
    return [*lines, f"and {more} more"] if more else lines or ["nothing: every part of every class survives"]


def _network_spacing(plan: VolumePlan) -> list[float]:
    own = np.percentile([case.spacing_mm for case in plan.fingerprint.cases], 50, 0)
    return [own[axis] if mm is None else mm for axis, mm in zip(plan.axes, plan.spacing_mm, strict=True)]


def _section(title: str, rows: Sequence[Row]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join([title, *(f"  {line.rstrip()}" for line in lines), ""])


def _list(title: str, sentences: Iterable[str]) -> str:
    lines = [f"  - {sentence}" for sentence in sentences]
    return "\n".join([title, *lines, ""]) if lines else ""


def _by(values: Iterable[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
