from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tessera.core.data.case import Reader
from tessera.core.data.make import MadeManifest, make_manifest
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError, TesseraError

Write = Callable[[Mapping[str, str]], Path]
Make = Callable[..., MadeManifest]

NAMED_BY_CLASS = {
    "frog/site1_a.txt": "ribbit",
    "frog/site1_b.txt": "ribbit ribbit",
    "no/site2_a.txt": "wind",
    "no/deep/er/site2_b.txt": "rain",
    "stray.txt": "who am I",
    "no/empty.txt": "",
}


@pytest.fixture
def make(write: Write, reader: Reader, tmp_path: Path) -> Make:
    """Make ``mine`` from files and, when given, the text of a labels.csv."""

    def maker(texts: Mapping[str, str], labels: str | None = None, **options: Any) -> MadeManifest:
        table = None
        if labels is not None:
            table = tmp_path / "labels.csv"
            table.write_text(labels, encoding="utf-8")
        out = tmp_path / "data_manifests/mine"
        return make_manifest(reader=reader, folder=write(texts), labels=table, out=out, **options)

    return maker


def labels_of(made: MadeManifest) -> dict[str, object]:
    return {case.id: case.targets["label"] for case in made.manifest.cases}


def groups_of(made: MadeManifest) -> dict[str, str]:
    return {case.id: case.group for case in made.manifest.cases}


def test_subfolders_name_classes_and_the_rest_is_reported(make: Make) -> None:
    made = make(NAMED_BY_CLASS)
    assert labels_of(made) == {
        "frog/site1_a.txt": "frog",
        "frog/site1_b.txt": "frog",
        "no/deep/er/site2_b.txt": "no",
        "no/site2_a.txt": "no",
    }
    assert made.manifest.target("label").classes == ("frog", "no")
    assert made.unlabelled == ("stray.txt",)
    assert [(path, "empty" in reason) for path, reason in made.unreadable] == [("no/empty.txt", True)]
    assert (made.without_file, made.duplicates) == ((), ())
    saved = Manifest.load("mine")
    assert saved.digest == made.manifest.digest
    assert saved.verify() == []
    assert (saved.info.root, saved.info.role) == ("../../recordings", "text")


def test_without_a_rule_each_file_is_its_own_group_and_the_warning_says_how_to_change_it(make: Make) -> None:
    made = make(NAMED_BY_CLASS)
    assert groups_of(made)["no/deep/er/site2_b.txt"] == "site2_b"
    assert any("--group-regex" in text for text in made.warnings)


@pytest.mark.parametrize("regex", [r"([^/_]+)_[^/]*$", r"(x)?(?P<group>site\d)"])
def test_the_group_is_taken_from_the_path(make: Make, regex: str) -> None:
    made = make(NAMED_BY_CLASS, group_regex=regex)
    assert set(groups_of(made).values()) == {"site1", "site2"}
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("regex", "words"),
    [
        (r"site\d", "must mark the group"),
        (r"(a)(b)", "2 pairs of parentheses"),
        (r"(a", "no regular expression"),
        (r"(site1)", "finds no group in no/"),
    ],
)
def test_a_group_rule_that_does_not_fit_is_refused(make: Make, regex: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        make(NAMED_BY_CLASS, group_regex=regex)


TEXTS = {"x/a.txt": "one", "x/b.TXT.txt": "two", "y/c.txt": "three"}


@pytest.mark.parametrize(
    "table",
    [
        "file,label\nx/a.txt,p\nb.TXT.txt,q\nc,q\n",
        "Filename;Class\nx\\a.txt;p\n./x/b.TXT.txt;q\ny/c;q\n",
        "label\tnote\tpath\np\tfirst\ta.txt\nq\t\tb.TXT\nq\t\tc.txt\n",
    ],
)
def test_a_table_names_files_by_path_name_or_stem(make: Make, table: str) -> None:
    assert labels_of(make(TEXTS, table)) == {"x/a.txt": "p", "x/b.TXT.txt": "q", "y/c.txt": "q"}


def test_the_columns_taken_are_told(make: Make) -> None:
    made = make(TEXTS, "name,species,fold,site\na,p,1,n\nb.TXT,q,1,n\nc,q,2,n\n")
    assert dict(made.columns) == {"file": "name", "label": "species", "split": "fold"}
    assert [case.split for case in made.manifest.cases] == ["1", "1", "2"]
    named = make(TEXTS, "name,species,site\na,p,n\nc,q,m\n", label_column="site", overwrite=True)
    assert labels_of(named) == {"x/a.txt": "n", "y/c.txt": "m"}


def test_a_table_without_the_columns_lists_those_it_has(make: Make) -> None:
    with pytest.raises(DataError, match="no column names the label") as caught:
        make(TEXTS, "file,animal\na,p\n")
    assert "columns file, animal" in str(caught.value)
    with pytest.raises(DataError, match="no column names the file"):
        make(TEXTS, "file,label\na,p\n", file_column="clip")


def test_labels_without_a_file_and_files_without_a_label_are_reported(make: Make) -> None:
    made = make(TEXTS, "file,label\na,p\ngone.txt,q\nb.TXT,\n")
    assert labels_of(made) == {"x/a.txt": "p"}
    assert made.without_file == ("gone.txt",)
    assert made.unlabelled == ("x/b.TXT.txt", "y/c.txt")
    assert any("one class only" in text for text in made.warnings)


def test_a_name_that_fits_two_files_is_not_guessed(make: Make) -> None:
    made = make({"x/a.txt": "1", "y/a.txt": "2", "z.txt": "3"}, "file,label\na.txt,p\nx/a.txt,q\nz,p\n")
    assert made.without_file == ("a.txt (fits 2 files)",)
    assert labels_of(made) == {"x/a.txt": "q", "z.txt": "p"}


def test_cells_with_several_labels_make_tags(make: Make) -> None:
    made = make(TEXTS, "file,label\na,frog | rain\nb.TXT,frog\nb.TXT,wind;frog\nc,\n")
    spec = made.manifest.target("label")
    assert (spec.kind, spec.classes) == ("tags", ("frog", "rain", "wind"))
    assert labels_of(made) == {"x/a.txt": ("frog", "rain"), "x/b.TXT.txt": ("frog", "wind"), "y/c.txt": ()}


def test_numbers_are_numbers_only_when_asked(make: Make) -> None:
    table = "file;label\na;0,5\nb.TXT;2\nc;-1e-3\n"
    assert set(labels_of(make(TEXTS, table)).values()) == {"0,5", "2", "-1e-3"}
    made = make(TEXTS, table, kind="number", unit="s", overwrite=True)
    assert labels_of(made) == {"x/a.txt": 0.5, "x/b.TXT.txt": 2.0, "y/c.txt": -0.001}
    assert made.manifest.target("label").unit == "s"
    with pytest.raises(DataError, match=r"line 2.*no number"):
        make(TEXTS, "file,label\na,loud\n", kind="number")
    with pytest.raises(DataError, match=r"line 2.*no number"):
        make(TEXTS, "file,label\na,nan\n", kind="number")


def test_two_labels_of_one_file_are_a_contradiction(make: Make) -> None:
    with pytest.raises(DataError, match=r"line 3: x/a\.txt has two labels") as caught:
        make(TEXTS, "file,label\na,p\nx/a.txt,q\n")
    assert "--kind tags" in str(caught.value)
    assert len(make(TEXTS, "file,label\na,p\nx/a.txt,p\nc,q\n").manifest.cases) == 2


def test_the_tables_groups_are_used_and_not_mixed_with_a_rule(make: Make) -> None:
    table = "file,label,group\na,p,north\nb.TXT,q,north\nc,q,south\n"
    made = make(TEXTS, table)
    assert list(groups_of(made).values()) == ["north", "north", "south"]
    assert made.warnings == ()
    with pytest.raises(DataError, match="given twice"):
        make(TEXTS, table, group_regex="(.)")
    with pytest.raises(DataError, match="no group"):
        make(TEXTS, "file,label,group\na,p,\n")


def test_copies_share_a_group_also_through_a_chain(make: Make) -> None:
    texts = {
        "k/1c.txt": "same",
        "k/2b.txt": "same",
        "k/3b.txt": "other",
        "k/4a.txt": "other",
        "m/5d.txt": "x",
    }
    made = make(texts, group_regex=r"/\d(\w)")
    assert list(groups_of(made).values()) == ["a", "a", "a", "a", "d"]
    assert made.duplicates == (("k/1c.txt", "k/2b.txt"), ("k/3b.txt", "k/4a.txt"))


def test_copies_with_different_labels_are_refused(make: Make) -> None:
    with pytest.raises(DataError, match="different labels"):
        make({"k/a.txt": "same", "m/b.txt": "same"})


def test_a_group_torn_by_the_given_folds_is_a_warning(make: Make) -> None:
    made = make(TEXTS, "file,label,group,fold\na,p,g,1\nb.TXT,q,g,2\nc,q,h,2\n")
    assert any("two sides of the given split: g" in text for text in made.warnings)


def test_nothing_usable_says_what_was_found(make: Make) -> None:
    with pytest.raises(DataError) as caught:
        make({"a.txt": "1", "k/e.txt": ""})
    assert all(
        word in str(caught.value) for word in ("1 files without a label", "unreadable", "named by class")
    )
    with pytest.raises(DataError, match="holds no labels"):
        make(TEXTS, "file,label\n")


def test_a_link_out_of_the_folder_is_reported_and_the_rest_goes_on(
    make: Make, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("secret", encoding="utf-8")
    folder = write(TEXTS)
    (folder / "x/link.txt").symlink_to(tmp_path / "secret.txt")
    made = make(TEXTS)
    assert [path for path, _ in made.unreadable] == ["x/link.txt"]
    assert len(made.manifest.cases) == 3


def test_an_unusable_name_or_class_is_a_clear_error(
    make: Make, write: Write, reader: Reader, tmp_path: Path
) -> None:
    with pytest.raises(TesseraError, match="id"):
        make_manifest(reader=reader, folder=write(TEXTS), out=tmp_path / "my data")
    with pytest.raises(TesseraError, match="cannot be a class"):
        make(TEXTS, "file,label\na,p|q\nc,r\n", kind="class")


def test_another_manifest_is_not_overwritten_unasked(make: Make) -> None:
    make(TEXTS)
    make(TEXTS)
    with pytest.raises(DataError, match="another manifest"):
        make({**TEXTS, "y/d.txt": "four"})
    assert len(make(TEXTS, overwrite=True).manifest.cases) == 4
