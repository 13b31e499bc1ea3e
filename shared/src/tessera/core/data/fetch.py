"""Download a manifest's files: mirrors in order, resumed where cut, checked by SHA-256 (no torch)."""

from __future__ import annotations

import http.client
import ipaddress
import logging
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import urlsplit

from tessera.core.data.dataset_info import ListedFile
from tessera.core.data.hashing import sha256_file
from tessera.core.data.locate import fetch_folder
from tessera.core.data.manifest import Manifest, Problem
from tessera.core.errors import DataError

Progress = Callable[[int], None]

TIMEOUT_S = 30.0  # without a byte
ATTEMPTS = 3  # per mirror, while the connection is cut
_BLOCK = 1 << 18


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did.

    Args:
        folder: Where new files are.
        present: Files that were there and right.
        fetched: Files that were downloaded.
        failures: Files that could not be had, with every mirror's reason.
    """

    folder: Path
    present: int
    fetched: int
    failures: tuple[Problem, ...] = ()


class _CutError(Exception):
    """The connection ended early; what came is kept and the rest can be asked for."""


class _BadMirrorError(Exception):
    """This mirror cannot give the file."""


def fetch(
    manifest: Manifest, *, dest: Path | None = None, progress: Progress | None = None, workers: int = 4
) -> FetchReport:
    """Bring every file of the manifest to this machine; may be interrupted and called again.

    Args:
        manifest: Its listed files' ``urls`` are tried in order.
        dest: Folder of the data set; the fetch cache when not given.
        progress: Called with the bytes that arrived or were there; negative when bytes are thrown away.
        workers: Downloads at the same time.
    """
    folder = fetch_folder(manifest.info) if dest is None else dest
    lock = threading.Lock()

    def tell(count: int) -> None:
        if progress is not None:
            with lock:
                progress(count)

    def one(item: tuple[str, ListedFile]) -> str | Problem:
        case_id, reference = item
        try:
            return _fetch_file(reference, folder, tell)
        except (DataError, OSError) as error:  # a full disk is one file's failure too
            reason = error.one_line() if isinstance(error, DataError) else str(error)
            return Problem(case_id, reference.relative, reason)

    items = {reference.relative: (case_id, reference) for case_id, reference in _listed(manifest)}
    _check_addresses(manifest, (reference for _, reference in items.values()))
    with ThreadPoolExecutor(max(1, workers)) as pool:
        outcomes = list(pool.map(one, items.values()))
    failures = tuple(outcome for outcome in outcomes if isinstance(outcome, Problem))
    return FetchReport(folder, outcomes.count("present"), outcomes.count("fetched"), failures)


def download(url: str, target: Path, *, progress: Progress | None = None) -> str:
    """Download a file that no manifest lists, resumed where it was cut; returns its SHA-256.

    A file that is there is taken as it is.
    """
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    part = target.with_name(target.name + ".part")
    try:
        downloader = _Resuming(part, _size(url), progress or (lambda count: None))
        pooch.retrieve(url, known_hash=None, fname=target.name, path=target.parent, downloader=downloader)
    except _BadMirrorError as error:
        raise DataError(
            f"cannot fetch {url}", found=error, hint="fetch again later: what has arrived is kept"
        ) from None
    return sha256_file(target)


def _size(url: str) -> int:
    """How many bytes a mirror says the file has."""
    request = urllib.request.Request(
        url, headers={"User-Agent": "tessera", "Accept-Encoding": "identity"}, method="HEAD"
    )
    try:
        with _opener(url).open(request, timeout=TIMEOUT_S) as response:
            return int(response.headers["Content-Length"])
    except urllib.error.HTTPError as error:
        raise _BadMirrorError(f"HTTP {error.code} {error.reason}") from None
    except (OSError, http.client.HTTPException) as error:
        raise _BadMirrorError(f"no connection: {error}") from None
    except (TypeError, ValueError):
        raise _BadMirrorError("it does not say how large the file is") from None


def _listed(manifest: Manifest) -> Iterator[tuple[str, ListedFile]]:
    for case in manifest.cases:
        for reference in (*case.all_files(), *case.target_files()):
            if isinstance(reference, ListedFile):
                yield case.id, reference


def _check_addresses(manifest: Manifest, references: Iterator[ListedFile]) -> None:
    missing = [ref.relative for ref in references if not ref.urls and ref.path is None]
    if missing:
        raise DataError(
            f"manifest {manifest.info.id} names no address to download from",
            found=f"{len(missing)} files that are not on this machine, for instance {missing[0]}",
            expected="urls in dataset.yaml",
            hint=f"get the data from {manifest.info.source or 'its makers'}, put it into a folder"
            f" called {manifest.info.root}, and set TESSERA_DATA_ROOT to the folder above",
        )


def _fetch_file(reference: ListedFile, folder: Path, tell: Progress) -> str:
    target = folder / PurePosixPath(reference.relative)
    for place in dict.fromkeys((target, reference.path or target)):
        if place.is_file() and _is_right(place, reference):
            tell(reference.bytes or 0)
            return "present"
    if reference.path is not None and reference.path != target:
        raise DataError(
            f"{reference.path} has another content than listed",
            found=f"{reference.path.stat().st_size} bytes",
            expected=f"{reference.bytes} bytes, SHA-256 {reference.sha256}",
            hint="move this file away, it would hide the right one, and fetch again",
        )
    reasons = []
    for url in reference.urls:
        try:
            _from_mirror(url, target, reference, tell)
            return "fetched"
        except _BadMirrorError as error:
            reasons.append(f"{url}: {error}")
    raise DataError(
        f"cannot fetch {reference.relative}",
        found=" | ".join(reasons) or "no address",
        hint="fetch again later: what has arrived is kept",
    )


def _is_right(path: Path, reference: ListedFile) -> bool:
    return path.stat().st_size == reference.bytes and sha256_file(path) == reference.sha256


def _from_mirror(url: str, target: Path, reference: ListedFile, tell: Progress) -> None:
    """Download from one mirror; pooch checks the hash and puts the file in place."""
    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    part = target.with_name(target.name + ".part")
    # A part begun at a wrong mirror spoils a right one, so a resumed failure is tried once from the start.
    for _ in range(2):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            pooch.retrieve(
                url,
                known_hash=f"sha256:{reference.sha256}",
                fname=target.name,
                path=target.parent,
                downloader=_Resuming(part, reference.bytes or 0, tell),
            )
            return
        except ValueError:  # how pooch says that the hash differs; it deleted what we gave it
            tell(-(reference.bytes or 0))
            if not resumed:
                break
    raise _BadMirrorError(f"its content has another SHA-256 than {reference.sha256}")


class _Resuming:
    """A pooch downloader that keeps a part file and asks for the rest of it.

    Args:
        part: Where bytes are collected.
        size: Bytes the file has.
        tell: Told of bytes.
    """

    def __init__(self, part: Path, size: int, tell: Progress) -> None:
        self.part = part
        self.size = size
        self.tell = tell

    def __call__(self, url: str, output_file: str, pooch: object, check_only: bool = False) -> None:
        """Download ``url`` completely and hand it over as ``output_file``."""
        there = self.part.stat().st_size if self.part.exists() else 0
        self.tell(there)
        for attempt in range(ATTEMPTS):
            try:
                self._collect(url)
                break
            except _CutError as error:
                if attempt == ATTEMPTS - 1:
                    self.tell(-self.part.stat().st_size)
                    raise _BadMirrorError(f"the connection was cut {ATTEMPTS} times: {error}") from None
            except _BadMirrorError:
                if self.part.exists():
                    self.tell(-self.part.stat().st_size)
                raise
        self.part.replace(output_file)

    def _collect(self, url: str) -> None:
        """Append what is missing to the part file."""
        self.part.touch()
        start = self.part.stat().st_size
        if start > self.size:
            self._restart()
            start = 0
        if start == self.size:
            return
        request = urllib.request.Request(
            url, headers={"User-Agent": "tessera", "Accept-Encoding": "identity"}
        )
        if start:
            request.add_header("Range", f"bytes={start}-")
        try:
            with _opener(url).open(request, timeout=TIMEOUT_S) as response:
                if start and not _continues_at(response, start):
                    self._restart()
                    start = 0
                self._copy(response, start)
        except urllib.error.HTTPError as error:
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._restart()
                raise _CutError("the mirror has fewer bytes than were kept") from None
            raise _BadMirrorError(f"HTTP {error.code} {error.reason}") from None
        except urllib.error.URLError as error:
            raise _BadMirrorError(f"no connection: {error.reason}") from None
        except http.client.HTTPException as error:
            raise _CutError(str(error) or type(error).__name__) from None
        if self.part.stat().st_size < self.size:
            raise _CutError(f"{self.part.stat().st_size} of {self.size} bytes came")

    def _copy(self, response: IO[bytes], start: int) -> None:
        with self.part.open("r+b") as file:
            file.seek(start)
            while block := _receive(response):
                start += len(block)
                if start > self.size:
                    file.truncate(0)
                    self.tell(len(block) - start)
                    raise _BadMirrorError(f"it sends more than the {self.size} bytes listed")
                file.write(block)
                self.tell(len(block))

    def _restart(self) -> None:
        self.tell(-self.part.stat().st_size)
        with self.part.open("r+b") as file:
            file.truncate(0)


def _receive(response: IO[bytes]) -> bytes:
    """The next block; a broken connection is told apart from a full disk, which is an OSError too."""
    try:
        return response.read(_BLOCK)
    except (OSError, http.client.HTTPException) as error:
        raise _CutError(str(error) or type(error).__name__) from None


def _continues_at(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer is the rest from ``start``; servers without ranges send the whole file."""
    stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return response.status == http.client.PARTIAL_CONTENT and stated is not None and int(stated[1]) == start


def _opener(url: str) -> urllib.request.OpenerDirector:
    """An opener with the environment's proxies, except towards this machine itself."""
    host = urlsplit(url).hostname or ""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if loopback:
        return urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return urllib.request.build_opener()
