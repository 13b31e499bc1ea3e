"""Groups into bins of given shares, every class spread as evenly as the groups allow (no torch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Target

_QUANTILES = 5  # a number is balanced by fifths of its range of ranks


def strata(values: Sequence[Target | None]) -> npt.NDArray[np.float64]:
    """What is to be balanced, one row a case: (N, S) counts; the first column counts the case itself.

    Args:
        values: A class, a tuple of tags, a number or a tuple of numbers a case; ``None`` balances nothing but
            the counts.
    """
    names: list[tuple[str, ...]] = [()] * len(values)
    measured: dict[int, tuple[float, ...]] = {}
    for row, value in enumerate(values):
        if isinstance(value, int | float):
            measured[row] = (value,)
        elif isinstance(value, tuple):
            numbers = tuple(part for part in value if not isinstance(part, str))
            if numbers:
                measured[row] = numbers
            else:
                names[row] = tuple(map(str, value)) or ("(none)",)
        elif isinstance(value, str):
            names[row] = (value,)
    for place, column in enumerate(zip(*measured.values(), strict=True)):
        edges = np.quantile(column, np.linspace(0, 1, _QUANTILES + 1)[1:-1])
        for row, number in zip(measured, column, strict=True):
            names[row] += (f"{place} {np.searchsorted(edges, number)}",)
    columns = {name: column + 1 for column, name in enumerate(sorted({n for row in names for n in row}))}
    table = np.zeros((len(values), len(columns) + 1))
    table[:, 0] = 1.0
    for row, found in enumerate(names):
        table[row, [columns[name] for name in found]] = 1.0
    return table


def assign_groups(
    groups: Sequence[str],
    counts: npt.NDArray[np.float64],
    shares: Sequence[float],
    rng: np.random.Generator,
) -> dict[str, int]:
    """Give every group a bin, the largest first, each to where it brings the bins nearest to their shares.

    Nearness is the chi-square distance, summed over the columns and the number of groups. No bin stays
    empty. The result does not depend on the order of the cases.

    Args:
        groups: Group of each case; at least one group a bin.
        counts: (N, S) what each case counts for.
        shares: Share of each bin; they sum to one.
        rng: Breaks ties.
    """
    names = sorted(set(groups))
    place = {name: row for row, name in enumerate(names)}
    totals = np.ones((len(names), counts.shape[1] + 1))  # the last column counts the group itself
    totals[:, :-1] = 0.0
    np.add.at(totals[:, :-1], [place[group] for group in groups], counts)
    whole = totals.sum(axis=0)
    wanted = np.outer(shares, whole)
    weight = (totals / whole).max(axis=1)
    order = sorted(rng.permutation(len(names)), key=lambda row: -weight[row])
    held = np.zeros_like(wanted)
    empty = set(range(len(shares)))
    bins: dict[str, int] = {}
    for step, row in enumerate(order):
        change = ((2 * (held - wanted) + totals[row]) * totals[row] / wanted).sum(axis=1)
        if len(order) - step <= len(empty):
            change[[b for b in range(len(shares)) if b not in empty]] = np.inf
        best = int(change.argmin())
        held[best] += totals[row]
        empty.discard(best)
        bins[names[row]] = best
    return bins
