"""The table of a study: one line an arm, as Markdown and as CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StudyRow:
    """One arm's line of the table.

    Args:
        arm: Its name.
        folds: Test folds done.
        n: Test cases, each once a seed.
        n_groups: Groups, the unit of the intervals.
        metrics: Metric name to ``value [low, high]``.
        difference: To the reference on the cases both have, or why there is none.
        to_members: Of an ensemble: the same to each of its arms.
        choices: Of a tuned arm: what was chosen in each fold's training part.
        seconds: Training time of all its runs.
        parameters: Trainable numbers.
    """

    arm: str
    folds: tuple[str, ...]
    n: int
    n_groups: int
    metrics: Mapping[str, str]
    difference: str
    seconds: float
    parameters: int
    to_members: Mapping[str, str] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


def to_markdown(rows: Sequence[StudyRow], *, title: str, data: str, seeds: Sequence[int], metric: str) -> str:
    """The table as Markdown, the study's metric first."""
    lines = [
        f"# {title}",
        "",
        f"Data {data}, seeds {', '.join(map(str, seeds))}; intervals are 95 %, by bootstrap over groups.",
        "",
        f"| arm | {metric} | difference to reference | folds | n | groups | parameters | training s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.arm} | {row.metrics[metric]} | {row.difference} | {', '.join(row.folds)} | {row.n} "
        f"| {row.n_groups} | {row.parameters:,} | {row.seconds:.0f} |"
        for row in rows
    ]
    if any(row.choices for row in rows):
        lines += ["", "| arm | chosen inside the training part |", "| --- | --- |"]
        lines += [f"| {row.arm} | {choice} |" for row in rows for choice in row.choices]
    if any(row.to_members for row in rows):
        lines += [
            "",
            "| ensemble | difference to | " + metric + " |",
            "| --- | --- | --- |",
            *(
                f"| {row.arm} | {name} | {difference} |"
                for row in rows
                for name, difference in row.to_members.items()
            ),
        ]
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[StudyRow]) -> str:
    """The table as CSV, every metric a column."""
    text = io.StringIO(newline="")
    fixed = ("arm", "folds", "n", "n_groups", "difference", "seconds", "parameters", "to_members", "choices")
    names = list(rows[0].metrics) if rows else []
    writer = csv.DictWriter(text, [*fixed, *names], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {name: getattr(row, name) for name in fixed}
        values["to_members"] = "; ".join(f"{name}: {text}" for name, text in row.to_members.items())
        values["choices"] = "; ".join(row.choices)
        writer.writerow({**values, "folds": " ".join(row.folds), **row.metrics})
    return text.getvalue()
