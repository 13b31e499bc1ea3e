"""Reads WAV, FLAC, OGG, MP3 and AIFF in blocks, at any rate and channel count."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile

from tessera.audio.geometry import TimeAxis
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Region
from tessera.core.data.walk import walk_files
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.core.run_config import RunConfig

SUFFIXES = (".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff")
BLOCK_VALUES = 2**19  # decoded at once (2 MiB), so that overlapping windows do not seek
PREROLL = 8192  # samples decoded and dropped after a seek: Vorbis' longest block; see SoundSource
OGG_PAGE = 27 + 255 + 255 * 255  # bytes at most
UNKNOWN_LENGTH = 2**62  # libsndfile says 2**63 - 1 frames where the header does not say

log = logging.getLogger(__name__)


class SoundReader:
    """Finds and opens recordings."""

    def __init__(self, config: RunConfig | None = None) -> None:
        del config  # reading does not depend on the run

    def find(self, path: Path) -> list[Case]:
        """Every recording below a folder (or the one file), sorted; ids are paths relative to the folder."""
        path = Path(path)
        if path.is_file():
            return [_case(path, path.name)]
        if not path.is_dir():
            raise DataError(f"there is no file or folder {path}", hint="check the spelling of the path")
        cases = [_case(file, file.relative_to(path).as_posix()) for file in _recordings(path)]
        if not cases:
            raise DataError(
                f"no recordings in {path}",
                expected=f"files ending in {', '.join(SUFFIXES)} (capital letters too)",
            )
        return sorted(cases, key=lambda case: case.id)

    def open(self, case: Case) -> SoundSource:
        """Open a recording; raises ``DataError`` for what is not one."""
        return SoundSource(case)


class SoundSource:
    """One open recording; ``grid`` is its own time axis, ``read`` gives (channels, samples).

    A case may select a part of the file, ``start_sample`` to ``stop_sample`` (exclusive), as its whole grid.

    The last two decoded blocks are kept, so memory does not grow with length. A seek of libsndfile 1.2.2
    in Vorbis and MP3 is off by whole blocks when it goes a little forward, and its first samples can be
    wrong (its issue 885), so each starts from the beginning and some samples are decoded and dropped.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.path = case.path("audio")
        self._file = _opened(self.path)
        try:
            _check_header(self.path, self._file)
            self._first, stop = _selected(case, self._file.frames)
        except DataError:
            self._file.close()
            raise
        self._frames = int(self._file.frames)
        self._grid = TimeAxis(self._file.samplerate, stop - self._first, self._first)
        self._block = max(1, BLOCK_VALUES // self._file.channels)
        self._blocks: dict[int, npt.NDArray[np.float32]] = {}

    @property
    def grid(self) -> TimeAxis:
        """The recording's own time axis."""
        return self._grid

    @property
    def channels(self) -> int:
        """Number of channels."""
        return int(self._file.channels)

    def samples(self, start: int, stop: int) -> npt.NDArray[np.float32]:
        """Samples (channels, stop - start) of the recording, as stored, full scale = 1."""
        if not 0 <= start <= stop <= self._grid.n_samples:
            raise ValueError(f"samples {start} to {stop} of a recording of {self._grid.n_samples}")
        start, stop = start + self._first, stop + self._first
        first, last = start // self._block, max(start, stop - 1) // self._block
        parts = [self._decoded(number) for number in range(first, last + 1)]
        joined = parts[0] if len(parts) == 1 else np.concatenate(parts)
        offset = first * self._block
        return joined[start - offset : stop - offset].T

    def read(self, region: Region | None = None) -> Sample:
        """The region's samples (channels, T) at the recording's own rate."""
        import torch

        region = region or Region((0,), self._grid.shape)
        values = torch.from_numpy(self.samples(region.start[0], region.stop[0]).copy())
        return {
            "input": values,
            "geometry": self._grid.crop(region),
            "case_id": self.case.id,
            "region": region,
        }

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _decoded(self, number: int) -> npt.NDArray[np.float32]:
        if number not in self._blocks:
            start = number * self._block
            wanted = min(self._block, self._frames - start)
            block = self._decode(start, wanted)
            self._check(block, start, wanted)
            while len(self._blocks) > 1:
                self._blocks.pop(next(iter(self._blocks)))
            self._blocks[number] = block
        return self._blocks[number]

    def _decode(self, start: int, wanted: int) -> npt.NDArray[np.float32]:
        try:
            before = 0
            if self._file.tell() != start:
                before = min(PREROLL, start)
                self._file.seek(0)
                self._file.seek(start - before)
            return self._file.read(before + wanted, dtype="float32", always_2d=True)[before:]
        except (soundfile.SoundFileError, OSError, RuntimeError) as error:
            raise _unreadable(self.path, error, at_s=start / self._grid.rate_hz) from None

    def _check(self, block: npt.NDArray[np.float32], start: int, wanted: int) -> None:
        rate = self._grid.rate_hz
        if len(block) < wanted:
            found, expected = (start + len(block)) / rate, self._frames / rate
            raise _ends_early(self.path, f"{found:.3f} s", f"{expected:.3f} s")
        finite = np.isfinite(block).all(axis=1)
        if not finite.all():
            first = start + int(np.argmin(finite))
            raise DataError(
                f"{self.path} holds values that are not numbers",
                found=f"NaN or infinite samples, the first at {first / rate:.3f} s",
                hint="export the recording again",
            )


def _recordings(folder: Path) -> Iterator[Path]:
    """Files that are named like recordings."""
    for file in walk_files(folder):
        # macOS leaves a ._x.wav, which is no sound, beside x.wav on foreign disks
        if file.name.lower().endswith(SUFFIXES) and not file.name.startswith("._"):
            yield file


def _case(file: Path, name: str) -> Case:
    return Case(id=name, files={"audio": FileRef(path=file)}, group=file.stem)


def _opened(path: Path) -> soundfile.SoundFile:
    try:
        info = path.stat()
    except OSError as error:
        raise _no_access(path, error) from None
    if not stat.S_ISREG(info.st_mode):
        raise DataError(f"{path} is a folder or device", expected="a recording")
    if info.st_size == 0:
        raise DataError(f"{path} is empty", found="0 bytes", expected="a recording")
    try:
        return soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, RuntimeError, UnicodeError, TypeError) as error:
        raise _unreadable(path, error) from None


def _check_header(path: Path, file: soundfile.SoundFile) -> None:
    if file.frames <= 0:
        raise DataError(
            f"{path} holds no samples",
            found="0 samples",
            expected="at least one",
            hint="the recorder may have lost power; leave the file out",
        )
    if file.frames >= UNKNOWN_LENGTH:
        raise DataError(
            f"{path} does not say how long it is",
            expected="a number of samples in the header",
            hint="save it again with a sound editor",
        )
    held, promised = _bytes_of_sound(file.extra_info)
    if held < promised:
        raise _ends_early(path, f"{held} bytes of sound", f"{promised} bytes")
    if file.format == "OGG" and _last_page_is_cut(path):
        raise _ends_early(path, "a part of the last OGG page", "all of it")


def _selected(case: Case, n_samples: int) -> tuple[int, int]:
    """The samples of the file that a case is about: all of them unless it says so."""
    start, stop = case.select.get("start_sample", 0), case.select.get("stop_sample", n_samples)
    if type(start) is int and type(stop) is int and 0 <= start < stop <= n_samples:
        return start, stop
    raise DataError(
        f"case {case.id} selects samples that its file does not have",
        found=f"{start} to {stop}",
        expected=f"whole numbers, 0 <= start_sample < stop_sample <= {n_samples}",
        hint="the recording was exchanged; make the manifest again",
    )


def _bytes_of_sound(remarks: str) -> tuple[int, int]:
    """Bytes a WAV or AIFF file holds and its header promises, from libsndfile's remarks; zeros when equal.

    libsndfile shortens such files without an error. MP3 and FLAC show only when they are decoded.
    """
    sizes = re.search(r"^ *(?:data|SSND|Riff size) : (\d+) \(should be (\d+)\)", remarks, re.MULTILINE)
    if sizes is None:
        return 0, 0
    promised, held = int(sizes[1]), int(sizes[2])
    # A program that writes to a pipe does not know the length and writes about 2 or 4 GiB.
    unknown = 2**31 - 2**16 <= promised < 2**32 and (promised + 2**16) % 2**31 < 2**17
    return (0, 0) if unknown else (held, promised)


def _last_page_is_cut(path: Path) -> bool:
    """Whether the last OGG page (RFC 3533, section 6) reaches past the end of the file."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - OGG_PAGE))
        tail = file.read()
    page = tail[tail.rfind(b"OggS") :]
    if len(page) < 27 or len(page) < 27 + page[26]:
        return True
    segments = page[27 : 27 + page[26]]
    return len(page) < 27 + len(segments) + sum(segments)


def _ends_early(path: Path, found: str, expected: str) -> DataError:
    return DataError(
        f"{path} ends early",
        found=found,
        expected=f"{expected}, as its header says",
        hint="copy the file again; to use what is left of it, save it anew with a sound editor",
    )


def _unreadable(path: Path, error: Exception, *, at_s: float | None = None) -> DataError:
    try:
        with path.open("rb"):
            pass
    except OSError as denied:  # says more than libsndfile's "System error"
        return _no_access(path, denied)
    reason = (getattr(error, "error_string", None) or str(error)).strip()
    return DataError(
        f"cannot read {path}" if at_s is None else f"cannot read {path} after {at_s:.3f} s",
        found=reason,
        expected="WAV, FLAC, OGG, MP3 or AIFF",
        hint="play the file in another program; if it does not play there either, it is damaged",
    )


def _no_access(path: Path, error: OSError) -> DataError:
    if isinstance(error, FileNotFoundError):
        where = " (a broken link)" if path.is_symlink() else ""
        return DataError(f"there is no file {path}{where}")
    return DataError(f"cannot open {path}", found=error.strerror or str(error))
