from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tessera.core.bundle.bundle import Bundle
from tessera.core.bundle.sums import check_sums, rewrite, write_sums
from tessera.core.errors import BundleError

Make = Callable[..., Bundle]
LINE_BREAKS = b"\n\r\x0b\x0c\x1c\x1d\x1e\x85"


@contextmanager
def other_bytes(file: Path, content: bytes) -> Iterator[None]:
    before = file.read_bytes()
    file.write_bytes(content)
    yield
    file.write_bytes(before)


def all_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_any_changed_byte_of_any_file_is_detected(make: Make, tmp_path: Path, data: st.DataObject) -> None:
    folder = tmp_path / "bundle" if (tmp_path / "bundle").exists() else make().path
    file = data.draw(st.sampled_from(all_files(folder)), label="file")
    content = bytearray(file.read_bytes())
    place = data.draw(st.integers(0, len(content) - 1), label="place")
    content[place] ^= data.draw(st.integers(1, 255), label="change")
    with other_bytes(file, bytes(content)), pytest.raises(BundleError):
        Bundle.load(folder)
    check_sums(folder)


def test_every_part_of_the_list_itself_counts(make: Make) -> None:
    folder = make().path
    file = folder / "SHA256SUMS"
    text = file.read_bytes()
    breaks = [(i, new) for i, old in enumerate(text) if old in b"\n" for new in LINE_BREAKS if new != old]
    for place, new in [*((i, text[i] ^ 0x20) for i in range(0, len(text), 5)), *breaks]:
        changed = text[:place] + bytes([new]) + text[place + 1 :]
        with other_bytes(file, changed), pytest.raises(BundleError):
            check_sums(folder)


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\n", lambda b: b"", lambda b: b * 2])
def test_a_longer_or_shorter_file_is_detected(make: Make, change: Callable[[bytes], bytes]) -> None:
    folder = make().path
    for file in all_files(folder):
        with other_bytes(file, change(file.read_bytes())), pytest.raises(BundleError):
            check_sums(folder)


def test_a_missing_file_is_named(make: Make) -> None:
    folder = make().path
    for file in all_files(folder):
        content = file.read_bytes()
        file.unlink()
        with pytest.raises(BundleError) as caught:
            check_sums(folder)
        if file.name != "SHA256SUMS":
            assert str(file) in caught.value.problem
            assert caught.value.found == "no such file"
        file.write_bytes(content)


@pytest.mark.parametrize(
    "name", ["notes.txt", ".hidden", "members/1/model.safetensors", "members/0/SHA256SUMS"]
)
def test_an_extra_file_is_named(make: Make, name: str) -> None:
    folder = make().path
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text("extra")
    with pytest.raises(BundleError, match="does not belong to the bundle") as caught:
        check_sums(folder)
    assert name in caught.value.problem


def test_two_files_swapped_are_detected(make: Make) -> None:
    folder = make().path
    one, other = folder / "card.json", folder / "calibration.json"
    with other_bytes(one, other.read_bytes()), pytest.raises(BundleError, match=r"(calibration|card)\.json"):
        check_sums(folder)


def test_a_list_with_a_path_outside_is_refused_without_reading_it(make: Make, tmp_path: Path) -> None:
    folder = make().path
    secret = tmp_path / "secret"
    secret.write_text("secret")
    sums = folder / "SHA256SUMS"
    sums.write_text(sums.read_text() + f"{'0' * 64}  ../secret\n")
    with pytest.raises(BundleError) as caught:
        check_sums(folder)
    assert caught.value.found == "no such file"


def test_a_copied_bundle_is_still_whole(make: Make, tmp_path: Path) -> None:
    bundle = make()
    shutil.copytree(bundle.path, tmp_path / "copy")
    assert Bundle.load(tmp_path / "copy").digest == bundle.digest


def test_a_rewritten_file_has_the_sums_of_a_fresh_list(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("b")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.txt").write_text("a")
    write_sums(tmp_path)
    rewrite(tmp_path, {"b.txt": "ü\r\n", "new.txt": ""})
    assert (tmp_path / "b.txt").read_bytes() == b"\xc3\xbc\r\n"
    quick = check_sums(tmp_path)
    write_sums(tmp_path)
    assert check_sums(tmp_path) == quick


def test_a_changed_folder_is_not_rewritten(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    write_sums(tmp_path)
    (tmp_path / "a.txt").write_text("other")
    with pytest.raises(BundleError, match=r"a\.txt"):
        rewrite(tmp_path, {"b.txt": "new"})
    assert (tmp_path / "b.txt").read_text() == "b"
