"""What the report says: records, pages, escaping, the CSV files behind the figures, and missing parts."""

from __future__ import annotations

import csv
import itertools
import json
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix

from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.ledger import Ledger
from tessera.core.report.predictions_record import build_predictions_record
from tessera.core.report.report import Report
from tessera.core.report.run_record import build_run_record

ADDRESS = re.compile(r"https?:|//[a-z]|@import|url\(", re.IGNORECASE)


class Elements(HTMLParser):
    """Start tags with their attributes, and the text outside of style and script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def text_of(html: str) -> str:
    return " ".join(" ".join(Elements(html).text).split())


def test_header_names_run_data_sizes_and_headline_with_its_interval(shown_run: Path) -> None:
    text = text_of((shown_run / "report.html").read_text(encoding="utf-8"))
    rows = read_csv(shown_run / "predictions.csv")
    said = [max((float(v), k[2:]) for k, v in row.items() if k.startswith("p_"))[1] for row in rows]
    accuracy = accuracy_score([row["target"] for row in rows], said)
    stored = json.loads((shown_run / "evaluation.json").read_text())["metrics"]["accuracy"]
    assert f"accuracy {accuracy:.3f} 95 % interval {stored['low']:.3f} to {stored['high']:.3f}" in text
    for part in ("sound · m5", "toy-<b>scenes</b>", "120 / 24 / 60", "60 test cases in 8 groups", "Seed 3"):
        assert part in text


def test_simulated_data_are_announced_and_real_data_are_not(new_run: Callable[..., Path]) -> None:
    folder = new_run(simulated=True)
    assert "Simulated data" in text_of(Report(folder).write().read_text())
    shutil.rmtree(folder)
    assert "Simulated data" not in text_of(Report(new_run(simulated=False)).write().read_text())


def test_names_from_users_never_become_markup(shown_run: Path, shown_predictions: Path) -> None:
    for folder in (shown_run, shown_predictions):
        page = Elements((folder / "report.html").read_text(encoding="utf-8"))
        assert len(page.of("script")) == 1
        assert not page.of("i")
        assert not page.of("b")
        assert "<script>alert('x')</script>" in "".join(page.text)  # shown as text, in full
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


@pytest.mark.parametrize(
    "name",
    ["<svg onload=alert(1)>", "a' onclick='x", "--><script>1</script>", "#0072b2", "$\\frac{$", "声 \u0007"],
)
def test_hostile_class_names_are_drawn_as_text(new_run: Callable[..., Path], name: str) -> None:
    report = Report(new_run(classes=(name, "other"), n=20))
    page = Elements(report.write().read_text(encoding="utf-8"))
    assert len(page.of("script")) == 1
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)
    figures = [
        block for section in report.build().sections for block in section.blocks if block.kind == "figure"
    ]
    drawn = next(figure for figure in figures if figure.title == "Confusion matrix")
    texts = [text.strip() for text in Elements(drawn.svg).text]  # type: ignore[union-attr]
    assert texts.count(name.replace("\u0007", " ").strip()) == 2  # once an axis


def test_page_refers_to_nothing_outside_itself(shown_run: Path) -> None:
    html = (shown_run / "report.html").read_text(encoding="utf-8")
    for tag, attributes in Elements(html).tags:
        for name in ("src", "href", "xlink:href", "action", "poster", "srcset", "xmlns"):
            value = attributes.get(name) or ""
            local = value.startswith(("#", "data:", "report/")) or not value
            assert local, (tag, name, value[:80])
    style = html[html.index("<style>") : html.index("</style>")]
    script = html[html.index("<script>") : html.index("</script>")]
    assert not ADDRESS.search(style)
    assert not re.search(r"https?:|fetch|import", script)
    assert "default-src 'none'" in html


def test_csv_of_the_loss_holds_the_rows_of_metrics_csv(shown_run: Path) -> None:
    history = read_csv(shown_run / "metrics.csv")
    for name in ("train_loss", "val_loss"):
        expected = [(float(row["step"]), float(row[name])) for row in history if row[name]]
        drawn = [
            (float(row["step"]), float(row[name]))
            for row in read_csv(shown_run / "report/loss.csv")
            if row[name]
        ]
        assert drawn == expected


def test_csv_of_the_confusion_matrix_equals_scikit_learn(shown_run: Path) -> None:
    rows = read_csv(shown_run / "predictions.csv")
    names = [name[2:] for name in rows[0] if name.startswith("p_")]
    said = [names[int(np.argmax([float(row[f"p_{name}"]) for name in names]))] for row in rows]
    expected = confusion_matrix([row["target"] for row in rows], said, labels=names)
    written = read_csv(shown_run / "report/confusion.csv")
    assert [[int(row[name]) for name in names] for row in written] == expected.tolist()


def test_counts_drawn_in_the_confusion_matrix_are_those_of_its_csv(run_folder: Path) -> None:
    page = Report(run_folder).build()
    figure = next(
        b for s in page.sections for b in s.blocks if b.kind == "figure" and b.data.name == "confusion"
    )
    cells = [int(cell) for row in figure.data.rows for cell in row[1:] if cell]  # type: ignore[union-attr, arg-type]
    drawn = [int(t) for t in re.findall(r">\s*(\d+)\s*</text>", figure.svg)]  # type: ignore[union-attr]
    assert sorted(drawn) == sorted(cells)


def test_figures_have_text_alternatives_and_tables_captions(shown_run: Path) -> None:
    html = (shown_run / "report.html").read_text(encoding="utf-8")
    page = Elements(html)
    drawings = [a for a in page.of("div") if a.get("class") == "drawing"]
    assert len(drawings) >= 5
    assert all(a.get("role") == "img" and len(a.get("aria-label") or "") > 30 for a in drawings)
    assert len(page.of("caption")) == len(page.of("table"))
    assert all(a.get("scope") == "col" for a in page.of("th"))


def test_every_figure_and_table_has_its_csv_and_every_link_leads_to_one(shown_run: Path) -> None:
    html = (shown_run / "report.html").read_text(encoding="utf-8")
    links = {str(a["href"]) for a in Elements(html).of("a") if ".csv" in str(a["href"])}
    assert links == {f"report/{path.name}" for path in (shown_run / "report").iterdir()}
    assert len(links) == html.count("<figure") + html.count("<table")


def test_worst_cases_come_first_by_the_probability_of_the_truth(shown_run: Path) -> None:
    rows = read_csv(shown_run / "predictions.csv")
    expected = sorted(rows, key=lambda row: (float(row[f"p_{row['target']}"]), row["case_id"]))
    assert [row["case"] for row in read_csv(shown_run / "report/cases.csv")] == [
        r["case_id"] for r in expected
    ]


def test_only_the_worst_24_cases_are_drawn_and_the_page_says_so(shown_run: Path) -> None:
    html = (shown_run / "report.html").read_text(encoding="utf-8")
    worst = [row["case"] for row in read_csv(shown_run / "report/cases.csv")][:24]
    assert [a["aria-label"] for a in Elements(html).of("audio")] == [f"Sound of {name}" for name in worst]
    assert "24 of 60 cases" in text_of(html)


def test_case_that_cannot_be_drawn_shows_its_cause_and_the_others_their_media(
    run_folder: Path, tone_figures: Any, make_cases: Any
) -> None:
    Report(run_folder).write()
    worst = read_csv(run_folder / "report/cases.csv")[0]["case"]
    cases = make_cases([f"case_{i:03d}" for i in range(60)])
    html = Report(run_folder, cases=cases, figures=tone_figures(broken=worst)).write().read_text()
    assert f"cannot read {worst}; found: 0 bytes" in text_of(html)
    assert len(Elements(html).of("audio")) == 23


def test_data_card_counts_classes_by_role(run_folder: Path, make_cases: Any) -> None:
    ids = [row["case"] for row in read_csv(run_folder / "splits.csv")]
    Report(run_folder, cases=make_cases(ids, ("chirp", "no"))).write()
    rows = {row["class"]: row for row in read_csv(run_folder / "report/classes.csv")}
    # ids alternate between the two classes; 60 test, 120 train, 24 val, all even
    assert (rows["chirp"]["train"], rows["chirp"]["val"], rows["no"]["test"]) == ("60", "12", "30")
    assert rows["a & b $x_1$"]["train"] == "0"


@pytest.mark.parametrize(
    "name",
    [
        "metrics.csv",
        "evaluation.json",
        "predictions.csv",
        "splits.csv",
        "environment.json",
        "run.json",
        "bundle",
    ],
)
def test_missing_part_reads_not_recorded(run_folder: Path, name: str) -> None:
    part = run_folder / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert "not recorded" in text_of(Report(run_folder).write().read_text())


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"metrics": 3, "per_class": {}, "confusion": [[1]]}']
)
def test_broken_evaluation_is_no_crash(run_folder: Path, content: str) -> None:
    (run_folder / "evaluation.json").write_text(content)
    assert "not recorded" in text_of(Report(run_folder).write().read_text())


def test_run_that_was_just_begun_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("pipeline: sound\npreset: m5\n")
    (tmp_path / "metrics.csv").write_text(
        "step,epoch,seconds,lr,train_loss,val_loss\n50,1,2.0,0.001,1.2,\n100,1,4."
    )
    text = text_of(Report(tmp_path).write().read_text())
    assert "headline metric not recorded" in text
    assert [row["step"] for row in read_csv(tmp_path / "report/loss.csv")] == [
        "50.0"
    ]  # the cut line is left out


def test_folds_share_one_figure_of_validation_losses(new_run: Callable[..., Path]) -> None:
    folder = new_run()
    for fold in ("1", "2"):
        (folder / f"fold-{fold}").mkdir()
        for name in ("metrics.csv", "run.json"):
            shutil.copy(folder / name, folder / f"fold-{fold}" / name)
    (folder / "metrics.csv").unlink()
    (folder / "run.json").unlink()
    record = build_run_record(folder)
    assert (record.fold, record.dataset["title"]) == ("each of 2 in turn", "Toy")
    Report(folder).write()
    rows = read_csv(folder / "report/loss.csv")
    for fold in ("fold-1", "fold-2"):
        assert sum(bool(row[f"val_loss {fold}"]) for row in rows) == 30


def test_regression_shows_truth_against_prediction_with_its_unit(new_run: Callable[..., Path]) -> None:
    folder = new_run(kind="number")
    html = Report(folder).write().read_text(encoding="utf-8")
    assert "predicted (mm)" in html
    drawn = read_csv(folder / "report/agreement.csv")
    stored = read_csv(folder / "predictions.csv")
    assert [(float(r["true"]), float(r["predicted"])) for r in drawn] == [
        (float(r["target"]), float(r["mean"])) for r in stored
    ]
    first = read_csv(folder / "report/cases.csv")[0]
    assert float(first["absolute error"]) == max(abs(float(r["target"]) - float(r["mean"])) for r in stored)


def test_several_numbers_are_shown_one_by_one_and_the_worst_case_by_its_worst_number(
    new_run: Callable[..., Path],
) -> None:
    folder = new_run(kind="numbers", classes=("omega", "sigma"))
    html = text_of(Report(folder).write().read_text(encoding="utf-8"))
    assert "true sigma is inside" in html
    assert "coverage 68 omega" in html
    stored = read_csv(folder / "predictions.csv")
    for name in ("omega", "sigma"):
        drawn = read_csv(folder / f"report/agreement_{name}.csv")
        assert [float(r["predicted"]) for r in drawn] == [float(r[f"mean_{name}"]) for r in stored]
    truth = {n: np.array([float(r[f"target_{n}"]) for r in stored]) for n in ("omega", "sigma")}
    errors = [
        np.abs(np.array([float(r[f"mean_{n}"]) for r in stored]) - truth[n]) / truth[n].std() for n in truth
    ]
    worst = stored[int(np.max(errors, axis=0).argmax())]["case_id"]
    assert read_csv(folder / "report/cases.csv")[0]["case"] == worst


def test_predictions_are_counted_by_status_with_the_cause_of_each_failure(shown_predictions: Path) -> None:
    text = text_of((shown_predictions / "report.html").read_text(encoding="utf-8"))
    assert "30 of 32 2 failed, 1 suspicious" in text
    rows = read_csv(shown_predictions / "report/attention.csv")
    assert [(row["case"], row["status"], row["cause"]) for row in rows] == [
        ("<i>x</i>", "failed", "NaN"),
        ("empty", "failed", "cannot read empty.wav; found: 0 bytes"),
        ("case_004", "suspicious", "silent"),
    ]


def test_tables_alone_give_the_same_statuses_and_causes_as_the_ledger(predictions_folder: Path) -> None:
    with_ledger = build_predictions_record(predictions_folder)
    (predictions_folder / "ledger.sqlite").unlink()
    without = build_predictions_record(predictions_folder)
    assert dict(without.statuses) == dict(with_ledger.statuses)
    assert without.attention.rows == with_ledger.attention.rows


def test_prediction_that_is_still_running_has_a_report(predictions_folder: Path) -> None:
    with Ledger.read(predictions_folder):
        text = text_of(Report(predictions_folder).write().read_text(encoding="utf-8"))
    assert "30 of 32 2 failed, 1 suspicious" in text


def test_seconds_by_stage_are_those_of_run_json(shown_predictions: Path) -> None:
    rows = read_csv(shown_predictions / "report/stages.csv")
    assert {row["stage"]: float(row["seconds"]) for row in rows} == {"network": 7.25, "<u>tables</u>": 3.0}
    assert "Most memory 300 MiB" in text_of((shown_predictions / "report.html").read_text(encoding="utf-8"))


def test_seconds_by_stage_are_summed_over_the_cases_when_run_json_is_gone(predictions_folder: Path) -> None:
    (predictions_folder / "run.json").unlink()
    Report(predictions_folder).write()
    rows = read_csv(predictions_folder / "report/stages.csv")
    assert {row["stage"]: float(row["seconds"]) for row in rows} == {"network": 7.5, "writing": 15.0}


def test_least_certain_predictions_come_first(shown_predictions: Path) -> None:
    stored = {row["case_id"]: float(row["score"]) for row in read_csv(shown_predictions / "predictions.csv")}
    listed = [row["case"] for row in read_csv(shown_predictions / "report/cases.csv")]
    assert listed == sorted(stored, key=lambda name: (stored[name], name))


def test_timeline_holds_the_most_probable_class_of_every_window(shown_predictions: Path) -> None:
    windows = read_csv(shown_predictions / "windows.csv")
    best = [max((float(v), k[2:]) for k, v in row.items() if k.startswith("p_"))[1] for row in windows]
    drawn = read_csv(shown_predictions / "report/timeline_1.csv")
    assert [row["class"] for row in drawn] == best
    assert [float(row["stop"]) for row in drawn] == [float(row["end_s"]) for row in windows]


def test_timeline_of_a_very_long_case_joins_windows_and_covers_all_of_it(
    new_predictions: Callable[..., Path],
) -> None:
    folder = new_predictions(windows=2500)
    Report(folder).write()
    drawn = read_csv(folder / "report/timeline_1.csv")
    assert len(drawn) == 500  # five windows a bar, at most 600 bars
    assert (float(drawn[0]["start"]), float(drawn[-1]["stop"])) == (0.0, 2500.0)
    assert all(a["stop"] == b["start"] for a, b in itertools.pairwise(drawn))


@pytest.mark.parametrize(
    "name", ["predictions.csv", "windows.csv", "ledger.sqlite", "failures.csv", "bundle"]
)
def test_predictions_with_a_missing_part_have_a_report(predictions_folder: Path, name: str) -> None:
    part = predictions_folder / name
    shutil.rmtree(part) if part.is_dir() else part.unlink()
    assert "Where the time went" in text_of(Report(predictions_folder).write().read_text())


def test_same_folder_gives_the_same_bytes(run_folder: Path) -> None:
    first = Report(run_folder).write().read_bytes()
    assert Report(run_folder).write().read_bytes() == first


def test_report_can_lie_elsewhere_with_its_numbers_beside_it(run_folder: Path, tmp_path: Path) -> None:
    page = Report(run_folder).write(tmp_path / "for_paper" / "bats.html")
    assert 'href="bats/confusion.csv"' in page.read_text(encoding="utf-8")
    assert (tmp_path / "for_paper" / "bats" / "confusion.csv").is_file()
    assert not list((tmp_path / "for_paper").rglob("*.tmp"))


def test_folder_of_something_else_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"neither a run nor(.|\n)*config\.yaml"):
        Report(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        Report(tmp_path / "nothing")


def test_page_name_without_html_is_refused(run_folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.html"):
        Report(run_folder).write(run_folder / "page.pdf")
