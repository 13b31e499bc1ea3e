from __future__ import annotations

import errno
import http.server
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tessera.core.data import fetch as fetching
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.fetch import fetch
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError

CONTENT = {"audio/a.bin": b"The first file. " * 5000, "audio/b c.bin": b"short"}


class Mirror(http.server.BaseHTTPRequestHandler):
    """Serves CONTENT below one folder a behaviour: /good, /noranges, /wrong, /cut, /long, /broken, /gone."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, str]]

    def do_GET(self) -> None:
        _, mirror, *rest = self.path.split("/")
        path = "/".join(rest).replace("%20", " ")
        wanted = self.headers.get("Range", "")
        self.asked.append((mirror, path, wanted))
        body = CONTENT.get(path)
        if body is None or mirror == "gone":
            self.send_error(404)
            return
        if mirror == "broken":
            self.send_error(500)
            return
        if mirror == "wrong":
            body = body.swapcase()
        if mirror == "long":
            body += b"more"
        start = int(re.sub(r"\D", "", wanted) or 0) if mirror != "noranges" else 0
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        rest_of_body = body[start:]
        if mirror in ("cut", "wrongcut") and len(rest_of_body) > 30_000:
            rest_of_body = rest_of_body[:30_000]
            if mirror == "wrongcut":
                rest_of_body = rest_of_body.swapcase()
            self.close_connection = True
        self.wfile.write(rest_of_body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, serve: Callable[[type[Mirror]], str]) -> str:
    """A loopback server's address; proxies point nowhere."""
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://192.0.2.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.setattr(Mirror, "asked", [], raising=False)
    return serve(Mirror)


Listed = Callable[..., Manifest]


@pytest.fixture
def listed(tmp_path: Path, server: str) -> Listed:
    """A manifest of CONTENT whose files are not here, with the named mirrors."""

    def make(*mirrors: str) -> Manifest:
        for name, content in CONTENT.items():
            path = tmp_path / "origin" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        cases = [
            Case(id=name, files={"file": FileRef(path=tmp_path / "origin" / name)}, group=name)
            for name in CONTENT
        ]
        info = DatasetInfo(
            id="far",
            root="../origin",
            urls=tuple(f"{server}/{mirror}" for mirror in mirrors),
            source="https://far.org",
        )
        Manifest.create(info, cases, folder=tmp_path / "far").save(tmp_path / "far")
        shutil.rmtree(tmp_path / "origin")
        return Manifest.load(tmp_path / "far")

    return make


def asked(path: str = "audio/a.bin") -> list[tuple[str, str]]:
    return [(mirror, wanted) for mirror, name, wanted in Mirror.asked if name == path]


def parts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and path.name[-3:] != "bin")


def test_files_are_fetched_into_the_cache_and_found_there(listed: Listed, tmp_path: Path) -> None:
    manifest = listed("good")
    told: list[int] = []
    report = fetch(manifest, progress=told.append)
    assert (report.present, report.fetched, report.failures) == (0, 2, ())
    assert report.folder == tmp_path / "cache/data/far"
    assert {name: (report.folder / name).read_bytes() for name in CONTENT} == CONTENT
    assert parts(report.folder) == []
    assert sum(told) == manifest.total_bytes
    assert Manifest.load(manifest.folder).verify() == []


def test_what_is_there_and_right_is_not_fetched_again(listed: Listed) -> None:
    manifest = listed("good")
    fetch(manifest)
    Mirror.asked.clear()
    told: list[int] = []
    for again in (manifest, Manifest.load(manifest.folder)):
        report = fetch(again, progress=told.append)
        assert (report.present, report.fetched) == (2, 0)
    assert Mirror.asked == []
    assert sum(told) == 2 * manifest.total_bytes


def test_a_damaged_file_of_an_earlier_fetch_is_replaced(listed: Listed, tmp_path: Path) -> None:
    manifest = listed("good")
    fetch(manifest, dest=tmp_path / "here")
    (tmp_path / "here/audio/a.bin").write_bytes(b"damaged")
    report = fetch(manifest, dest=tmp_path / "here")
    assert (report.present, report.fetched) == (1, 1)
    assert (tmp_path / "here/audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]


def test_a_wrong_file_in_a_persons_own_folder_is_reported_and_left_alone(
    listed: Listed, tmp_path: Path
) -> None:
    manifest = listed("good")
    own = tmp_path / "origin/audio/a.bin"
    own.parent.mkdir(parents=True)
    own.write_bytes(b"mine")
    report = fetch(Manifest.load(manifest.folder))
    assert report.fetched == 1
    assert [failure.path for failure in report.failures] == ["audio/a.bin"]
    assert "another content" in report.failures[0].what
    assert own.read_bytes() == b"mine"


@pytest.mark.parametrize("bad", ["gone", "broken", "wrong", "long"])
def test_the_next_mirror_helps_where_one_fails(listed: Listed, bad: str) -> None:
    told: list[int] = []
    manifest = listed(bad, "good")
    report = fetch(manifest, progress=told.append, workers=1)
    assert (report.fetched, report.failures) == (2, ())
    assert asked() == [(bad, ""), ("good", "")]
    assert (report.folder / "audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]
    assert parts(report.folder) == []
    assert sum(told) == manifest.total_bytes


def test_a_cut_connection_is_resumed_where_it_ended(listed: Listed) -> None:
    report = fetch(listed("cut"), workers=1)
    assert report.fetched == 2
    assert asked() == [("cut", ""), ("cut", "bytes=30000-"), ("cut", "bytes=60000-")]
    assert (report.folder / "audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]


def test_a_killed_fetch_goes_on_from_its_part(listed: Listed, tmp_path: Path) -> None:
    part = tmp_path / "here/audio/a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["audio/a.bin"][:50_000])
    report = fetch(listed("good"), dest=tmp_path / "here", workers=1)
    assert report.fetched == 2
    assert asked() == [("good", "bytes=50000-")]
    assert (tmp_path / "here/audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]
    assert not part.exists()


@pytest.mark.parametrize("rest", [b"spoilt" * 10, b"x" * 200_000, CONTENT["audio/a.bin"].swapcase()])
def test_a_spoilt_part_is_thrown_away_and_the_same_mirror_asked_again(
    listed: Listed, tmp_path: Path, rest: bytes
) -> None:
    part = tmp_path / "here/audio/a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(rest)
    told: list[int] = []
    manifest = listed("good")
    report = fetch(manifest, dest=tmp_path / "here", workers=1, progress=told.append)
    assert (report.fetched, report.failures) == (2, ())
    assert (tmp_path / "here/audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]
    assert sum(told) == manifest.total_bytes


def test_a_part_from_a_wrong_mirror_does_not_spoil_the_right_one(
    listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "ATTEMPTS", 1)
    report = fetch(listed("wrongcut", "good"), workers=1)
    assert (report.fetched, report.failures) == (2, ())
    assert asked() == [("wrongcut", ""), ("good", "bytes=30000-"), ("good", "")]


def test_a_mirror_without_ranges_starts_from_the_beginning(listed: Listed, tmp_path: Path) -> None:
    part = tmp_path / "here/audio/a.bin.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT["audio/a.bin"][:50_000])
    assert fetch(listed("noranges"), dest=tmp_path / "here", workers=1).fetched == 2
    assert asked() == [("noranges", "bytes=50000-")]
    assert (tmp_path / "here/audio/a.bin").read_bytes() == CONTENT["audio/a.bin"]


def test_a_failure_names_every_mirror_and_its_reason_and_spares_the_other_files(
    listed: Listed, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = listed("gone", "broken", "wrong", "cut")
    monkeypatch.setattr(fetching, "ATTEMPTS", 2)
    report = fetch(manifest, workers=2)
    assert report.fetched == 1
    (failure,) = report.failures
    assert failure.path == "audio/a.bin"
    words = ("HTTP 404", "HTTP 500", "another SHA-256", "cut 2 times: 60000 of 80000 bytes", "/wrong/")
    assert [word for word in words if word not in failure.what] == []
    assert parts(report.folder) == ["a.bin.part"]
    assert not (report.folder / "audio/a.bin").exists()


def test_a_full_disk_is_one_files_failure(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Any, response: Any, start: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fetching._Resuming, "_copy", full)
    report = fetch(listed("good"))
    assert [("No space left" in failure.what) for failure in report.failures] == [True, True]


def test_a_server_that_is_not_there_is_named(listed: Listed, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = listed("good")
    head = manifest.folder / "dataset.yaml"
    text = re.sub(r":\d+/good", ":1/good", head.read_text(encoding="utf-8"))
    head.write_text(text, encoding="utf-8")
    report = fetch(Manifest.load(manifest.folder))
    assert all("no connection" in failure.what for failure in report.failures)
    assert len(report.failures) == 2


def test_a_set_without_mirrors_says_where_it_comes_from(listed: Listed) -> None:
    with pytest.raises(DataError) as caught:
        fetch(listed())
    text = str(caught.value)
    assert all(
        word in text for word in ("names no address", "2 files", "https://far.org", "TESSERA_DATA_ROOT")
    )


def test_proxies_are_ignored_for_this_machine_only(server: str) -> None:
    def uses_proxy(url: str) -> bool:
        opener = fetching._opener(url)
        return any(getattr(handler, "proxies", {}) for handler in vars(opener)["handlers"])

    near = ("http://localhost/x", "http://127.0.0.1:80/x", "http://[::1]/x", "http://127.9.9.9/")
    far = ("http://example.org/x", "https://127.0.0.1.example.org/", "http://10.0.0.1/")
    assert [uses_proxy(url) for url in near] == [False] * 4
    assert [uses_proxy(url) for url in far] == [True] * 3
