from __future__ import annotations

from pathlib import Path

from tessera.core.training.history import cut_back, read_metrics

COLUMNS = ("step", "epoch", "seconds", "lr", "train_loss", "val_loss")
TABLE = ",".join(COLUMNS) + "\n10,1,1.5,0.1,2.0,\n20,1,3.0,0.1,1.5,1.75\n30,2,4.5,0.1,1.0,\n"


def test_rows_after_the_checkpoint_go_and_earlier_ones_keep_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    cut_back(path, COLUMNS, 20)
    assert path.read_text() == TABLE[: TABLE.index("30,")]


def test_a_row_without_its_end_goes(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE + "40")
    cut_back(path, COLUMNS, 40)
    assert path.read_text() == TABLE


def test_a_new_file_has_the_header_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    cut_back(path, COLUMNS, 0)
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_empty_cells_are_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(TABLE)
    rows = read_metrics(path)
    assert [row["val_loss"] for row in rows] == [None, 1.75, None]
    assert rows[2]["step"] == 30
