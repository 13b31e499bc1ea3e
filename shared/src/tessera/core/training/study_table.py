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
        to_others: The same to other arms, as an ensemble's members, by arm and metric.
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
    to_others: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    choices: tuple[str, ...] = ()


def to_markdown(
    rows: Sequence[StudyRow],
    *,
    title: str,
    data: str,
    seeds: Sequence[int],
    metric: str,
    columns: Sequence[str] = (),
) -> str:
    """The tables as Markdown: the metric, further ones, choices, and differences between arms."""
    lines = [
        f"# {title}",
        "",
        f"Data {data}, seeds {', '.join(map(str, seeds))}; intervals are 95 %, by bootstrap over groups.",
    ]
    heads = ("arm", metric, "difference to reference", "folds", "n", "groups", "parameters", "training s")
    lines += _table(
        heads,
        [
            (
                row.arm,
                row.metrics[metric],
                row.difference,
                ", ".join(row.folds),
                str(row.n),
                str(row.n_groups),
                f"{row.parameters:,}",
                f"{row.seconds:.0f}",
            )
            for row in rows
        ],
    )
    if columns:
        shown = [(row.arm, *(row.metrics[name] for name in columns)) for row in rows]
        lines += _table(("arm", *columns), shown)
    choices = [(row.arm, choice) for row in rows for choice in row.choices]
    lines += _table(("arm", "chosen inside the training part"), choices)
    names = tuple(dict.fromkeys((metric, *columns)))
    differences = [
        (row.arm, other, *(found[name] for name in names))
        for row in rows
        for other, found in row.to_others.items()
    ]
    lines += _table(("arm", "difference to", *names), differences)
    return "\n".join(lines) + "\n"


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table of Markdown with an empty line before it; nothing without rows."""
    if not rows:
        return []
    return ["", *(f"| {' | '.join(cells)} |" for cells in (heads, ["---"] * len(heads), *rows))]


def to_csv(rows: Sequence[StudyRow]) -> str:
    """The table as CSV, every metric a column."""
    text = io.StringIO(newline="")
    fixed = ("arm", "folds", "n", "n_groups", "difference", "seconds", "parameters", "to_others", "choices")
    names = list(rows[0].metrics) if rows else []
    writer = csv.DictWriter(text, [*fixed, *names], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        values = {name: getattr(row, name) for name in fixed}
        values["to_others"] = "; ".join(
            f"{name}, {metric}: {text}"
            for name, found in row.to_others.items()
            for metric, text in found.items()
        )
        values["choices"] = "; ".join(row.choices)
        writer.writerow({**values, "folds": " ".join(row.folds), **row.metrics})
    return text.getvalue()
