"""Drawings as inline SVG that takes its colours from the page, so it is readable in light and dark.

Every function draws from the table that becomes its CSV file, and from nothing else.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from tessera.core.report.page import Cell, Figure, Table
from tessera.core.report.stored import number, show_number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Drawing

# Colours after Okabe and Ito, distinguishable with every kind of colour blindness; each stands for a variable
# of the page's style sheet.
INK, MUTED, GRID = "#101214", "#5f6871", "#d9dee3"
SERIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
RIGHT, WRONG = SERIES[0], SERIES[1]
ON_MIDDLE, ON_STRONG = "#fefefc", "#fefefd"  # text on a half and on a fully coloured ground
_VARIABLES = (
    {INK: "--ink", MUTED: "--muted", GRID: "--grid"}
    | {
        ON_MIDDLE: "--on-middle",
        ON_STRONG: "--on-strong",
    }
    | {colour: f"--series-{i}" for i, colour in enumerate(SERIES, start=1)}
)
_DASHES = ("-", "--", "-.", ":")
CONFUSION_CLASSES = 50  # more classes than this cannot be read
_NUMBERS_UP_TO = 20  # classes for which a cell has room for its count
_LABEL_LENGTH = 22  # characters
_TIMELINE_ROWS = 12  # classes of a timeline; the rest share one row
_POINT_SIZE = 14


def draw_lines(data: Table, *, title: str, y_label: str, mark_lowest: str | None = None) -> Figure:
    """Every column of ``data`` after the first over the first; ``None`` cells are skipped."""
    x_name, *names = data.columns
    drawing, axes = _axes(5.0, 2.9)
    ends = []
    for i, name in enumerate(names):
        points = _points(data, x_name, name)
        if not points:
            continue
        axes.plot(
            *zip(*points, strict=True),
            color=SERIES[i % len(SERIES)],
            linestyle=_DASHES[i % len(_DASHES)],
            marker="o" if len(points) <= 60 else None,
            markersize=3,
            label=_short(name),
        )
        ends.append(f"{name} goes from {show_number(points[0][1])} to {show_number(points[-1][1])}")
    sentence = "; ".join(ends)
    if mark_lowest in names and (points := _points(data, x_name, mark_lowest)):
        best = min(points, key=lambda point: point[1])
        axes.plot(*best, marker="o", markersize=9, fillstyle="none", color=INK, linestyle="none")
        axes.annotate(
            f"lowest {show_number(best[1])}",
            best,
            (0, 12),
            textcoords="offset points",
            color=INK,
            ha="center",
        )
        sentence += f"; {mark_lowest} is lowest, {show_number(best[1])}, at {x_name} {show_number(best[0])}"
    axes.set_xlabel(x_name)
    axes.set_ylabel(y_label)
    axes.margins(y=0.18)
    if len(ends) > 1:
        _legend(axes)
    return _figure(drawing, data, title=title, alternative=f"Lines over {x_name}: {sentence}.")


def draw_confusion(data: Table) -> Figure:
    """``data`` holds one row a true class: its name, then cases by predicted class."""
    counts = np.array([[number(cell) or 0 for cell in row[1:]] for row in data.rows], dtype=float)
    names = [str(row[0]) for row in data.rows]
    right, total = int(np.trace(counts)), int(counts.sum())
    kept = np.arange(len(names))
    note = ""
    if len(names) > CONFUSION_CLASSES:
        errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * np.diag(counts)
        kept = np.sort(np.argsort(-errors, kind="stable")[:CONFUSION_CLASSES])
        note = f" Drawn are the {CONFUSION_CLASSES} of {len(names)} classes with most errors."
    drawing = _confusion_drawing(counts, kept, names)
    mixed = counts - np.diag(np.diag(counts))
    alternative = f"{right} of {total} cases are on the diagonal, predicted as what they are.{note}"
    if mixed.any():
        i, j = np.unravel_index(mixed.argmax(), mixed.shape)
        alternative += f" Most frequent error: {names[i]} taken for {names[j]}, {int(mixed[i, j])} times."
    return _figure(drawing, data, title="Confusion matrix", alternative=alternative, wide=True)


def _confusion_drawing(counts: Any, kept: Any, names: Sequence[str]) -> Drawing:
    from matplotlib.patches import Rectangle

    n = len(kept)
    labels = [_short(names[i]) for i in kept]
    upright = n > 8 or max(map(len, labels)) > 6
    room = 0.6 + 0.075 * max(map(len, labels))
    size = min(0.42 * n, 10.5)
    drawing, axes = _axes(size + room, size + (room if upright else 0.6))
    font = 9 if n <= 35 else 8
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    for y, i in enumerate(kept):
        for x, j in enumerate(kept):
            if not counts[i, j]:
                continue
            strength = 0.12 + 0.88 * share[i, j]
            colour = RIGHT if i == j else WRONG
            axes.add_patch(Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, color=colour, alpha=strength, lw=0))
            if n <= _NUMBERS_UP_TO:
                ink = ON_STRONG if strength > 0.85 else ON_MIDDLE if strength > 0.6 else INK
                axes.text(x, y, f"{counts[i, j]:.0f}", ha="center", va="center", color=ink, size=font)
    axes.set_xticks(range(n), labels, rotation=90 if upright else 0, size=font, parse_math=False)
    axes.set_yticks(range(n), labels, size=font, parse_math=False)
    axes.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), aspect="equal", xlabel="predicted", ylabel="true")
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=GRID, linewidth=0.5)
    axes.tick_params(which="minor", length=0)
    return drawing


def draw_reliability(data: Table) -> Figure:
    """``data`` has columns low, high, n, confidence, correct; empty bins are skipped."""
    rows = [dict(zip(data.columns, (number(cell) for cell in row), strict=True)) for row in data.rows]
    full = [row for row in rows if row["n"] and row["confidence"] is not None and row["correct"] is not None]
    x, y, n = (np.array([row[name] for row in full], dtype=float) for name in ("confidence", "correct", "n"))
    drawing, axes = _axes(5.0, 4.2)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle="--", linewidth=1, label="perfect")
    axes.vlines(x, np.minimum(x, y), np.maximum(x, y), color=WRONG, linewidth=3, alpha=0.45, label="gap")
    axes.plot(x, y, color=RIGHT, linewidth=1)
    axes.scatter(x, y, s=20 + 160 * n / max(n.sum(), 1), color=RIGHT, zorder=3, label="bin, area by cases")
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.04, 1.06), aspect="equal")
    axes.set_xlabel("confidence")
    axes.set_ylabel("share correct")
    _legend(axes, loc="upper left")
    widest = max(full, key=lambda row: abs(row["confidence"] - row["correct"]), default=None)  # type: ignore[operator]
    alternative = "Share of correct predictions over their confidence, in bins; the dashed line is perfect."
    if widest:
        alternative += (
            f" The widest gap: confidence {words_of(widest['confidence'])}, "
            f"share correct {words_of(widest['correct'])} (n = {words_of(widest['n'])})."
        )
    return _figure(drawing, data, title="Reliability", alternative=alternative)


def draw_bars(data: Table, *, title: str, x_label: str) -> Figure:
    """Horizontal bars: first column names, second column lengths."""
    names = [_short(str(row[0])) for row in data.rows]
    values = [number(row[1]) or 0.0 for row in data.rows]
    drawing, axes = _axes(5.4, min(0.9 + 0.28 * max(len(names), 2), 14.0))
    axes.barh(range(len(names)), values, color=SERIES[0], height=0.7)
    for y, value in enumerate(values):
        axes.annotate(
            _count_or_number(value),
            (value, y),
            (4, 0),
            textcoords="offset points",
            va="center",
            color=INK,
            size=9,
        )
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlabel(x_label)
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    longest = sorted(zip(values, data.rows, strict=True), key=lambda pair: -pair[0])[:3]
    shares = ", ".join(f"{row[0]} {_count_or_number(value)}" for value, row in longest)
    alternative = f"{title}, {len(names)} bars; the longest: {shares}."
    return _figure(drawing, data, title=title, alternative=alternative)


def draw_agreement(data: Table, *, unit: str, name: str = "") -> Figure:
    """``data`` has columns true, predicted and standard deviation; one point a case."""
    rows = [tuple(number(cell) for cell in row) for row in data.rows]
    full = [row for row in rows if row[0] is not None and row[1] is not None]
    x, y = (np.array([row[i] for row in full], dtype=float) for i in (0, 1))
    spread = np.array([row[2] or 0.0 for row in full], dtype=float)
    drawing, axes = _axes(5.0, 4.2)
    if full:
        ends = [min(x.min(), y.min()), max(x.max(), y.max())]
        axes.plot(ends, ends, color=MUTED, linestyle="--", linewidth=1, label="equal")
        axes.errorbar(x, y, yerr=spread, fmt="none", ecolor=SERIES[0], alpha=0.25, linewidth=1)
        axes.scatter(x, y, s=_POINT_SIZE, color=SERIES[0], label="case, ± 1 standard deviation")
        _legend(axes, loc="upper left")
    suffix = f" ({unit})" if unit else ""
    axes.set_xlabel(f"true {name}".rstrip() + suffix)
    axes.set_ylabel(f"predicted {name}".rstrip() + suffix)
    alternative = f"Predicted over true {name or 'value'} of {len(full)} cases; the dashed line is equality."
    title = f"Predicted and true {name}".rstrip()
    return _figure(drawing, data, title=title, alternative=alternative)


def draw_timeline(data: Table, *, title: str, unit: str) -> Figure:
    """``data`` has columns start, stop, class, probability; one bar a row, stronger when more certain."""
    total: dict[str, float] = {}
    spans = [(float(row[0] or 0), float(row[1] or 0), str(row[2]), number(row[3])) for row in data.rows]
    for start, stop, name, _ in spans:
        total[name] = total.get(name, 0.0) + stop - start
    ranked = sorted(total, key=lambda name: (-total[name], name))
    lanes = ranked[:_TIMELINE_ROWS]
    labels = [_short(name) for name in lanes] + (["(others)"] if len(ranked) > len(lanes) else [])
    drawing, axes = _axes(9.0, 0.9 + 0.3 * max(len(labels), 2))
    scale, shown = _time_scale(max((span[1] for span in spans), default=0.0), unit)
    for start, stop, name, certain in spans:
        lane = lanes.index(name) if name in lanes else len(lanes)
        axes.broken_barh(
            [(start / scale, (stop - start) / scale)],
            (lane - 0.36, 0.72),
            color=SERIES[lane % len(SERIES)],
            alpha=0.25 + 0.75 * (certain if certain is not None else 1.0),
            linewidth=0,
        )
    axes.set_yticks(range(len(labels)), labels, parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.margins(x=0.01)
    axes.set_xlabel(f"position ({shown})" if shown else "position")
    length = sum(total.values()) or 1.0
    shares = ", ".join(f"{name} {total[name] / length:.0%}" for name in ranked[:4])
    return _figure(
        drawing, data, title=title, alternative=f"Most probable class along the case: {shares}.", wide=True
    )


def words_of(value: float | None) -> str:
    """A number of a sentence."""
    return "unknown" if value is None else _count_or_number(value)


def _time_scale(span: float, unit: str) -> tuple[float, str]:
    if unit != "s" or span <= 300:
        return 1.0, unit
    return (60.0, "min") if span <= 7200 else (3600.0, "h")


def _count_or_number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) else show_number(value)


def _points(data: Table, x_name: str, y_name: str) -> list[tuple[float, float]]:
    pairs: zip[tuple[Cell, Cell]] = zip(data.column(x_name), data.column(y_name), strict=True)
    numbers = [(number(x), number(y)) for x, y in pairs]
    return [(x, y) for x, y in numbers if x is not None and y is not None]


def _short(name: str) -> str:
    """One printable line of at most 22 characters."""
    line = "".join(character if character.isprintable() else " " for character in name)
    return line if len(line) <= _LABEL_LENGTH else f"{line[: _LABEL_LENGTH - 1]}…"


def _axes(width: float, height: float) -> tuple[Drawing, Axes]:
    """An empty drawing, sizes in inches of 72 units."""
    from matplotlib.figure import Figure as Drawing

    drawing = Drawing(figsize=(width, height), layout="constrained", facecolor="none")
    axes = drawing.add_subplot(facecolor="none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GRID)
    axes.tick_params(colors=MUTED, labelcolor=INK, labelsize=10)
    axes.xaxis.label.set(color=INK, size=10.5)
    axes.yaxis.label.set(color=INK, size=10.5)
    axes.grid(color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    return drawing, axes


def _legend(axes: Axes, loc: Literal["best", "upper left"] = "best") -> None:
    legend = axes.legend(loc=loc, frameon=False, labelcolor=INK, fontsize=9.5)
    for text in legend.get_texts():
        text.set_parse_math(False)


def _figure(drawing: Drawing, data: Table, *, title: str, alternative: str, wide: bool = False) -> Figure:
    svg = _inline_svg(drawing, name=data.name)
    return Figure(title=title, alternative=alternative, svg=svg, data=data, wide=wide)


def _inline_svg(drawing: Drawing, *, name: str) -> str:
    """The drawing as SVG for a page: no header, no metadata, colours from the style sheet."""
    import matplotlib

    stream = io.StringIO()
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": name}
    with matplotlib.rc_context(settings), warnings.catch_warnings():
        # Text is drawn by the browser, which has glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        drawing.savefig(
            stream,
            format="svg",
            transparent=True,
            bbox_inches="tight",
            pad_inches=0.03,
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    svg = stream.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    width = float(box[0].split()[2]) * 96 / 72 if box else 480  # points to pixels
    rest = re.sub(r'<g id="[^"]*">', "<g>", rest).replace("xlink:href", "href")
    rest = re.sub(r"<[^>]*>", _recoloured, rest)  # inside tags only: a class may be called #0072b2
    return f'<svg {box[0] if box else ""} style="width:{width:.0f}px" aria-hidden="true">{rest}'


def _recoloured(tag: re.Match[str]) -> str:
    return re.sub(
        "#[0-9a-f]{6}",
        lambda colour: f"var({_VARIABLES[colour[0]]})" if colour[0] in _VARIABLES else colour[0],
        tag[0],
    )
