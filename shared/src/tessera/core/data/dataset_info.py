"""The head of a manifest, ``dataset.yaml``, and the files it lists (no torch)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from pydantic import Field, field_validator

from tessera.core.config import Config
from tessera.core.data.case import FileRef
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_PARTS = ("sha256", "bytes")  # columns of a mask's file, after its target's name


class DatasetInfo(Config):
    """What a data set is, where it comes from, and what is known of its cases."""

    id: str = Field(description="short name, also the name of the manifest's folder")
    title: str = Field("", description="one line for a person")
    description: str = ""
    licence: str = Field("", description="licence of the data, empty when not stated")
    citation: str = ""
    source: str = Field("", description="public address of the data")
    root: str = Field(
        ".",
        description="folder of the files: below TESSERA_DATA_ROOT, relative to the manifest, or absolute",
    )
    urls: tuple[str, ...] = Field((), description="mirrors: base addresses to which a path is appended")
    targets: dict[str, TargetSpec] = Field(default_factory=dict, description="the target columns")
    role: str = Field("file", description="role of a file whose row names none, for instance audio")
    splits: str = Field("", description="what the column split means")
    simulated: bool = Field(False, description="made by a simulator; results are labelled so")

    @field_validator("id", "role")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if not _NAME.fullmatch(value):
            raise ValueError("letters, digits, '_', '-' and '.' only, not starting with '-' or '.'")
        return value

    @field_validator("targets")
    @classmethod
    def _targets_have_names(cls, value: dict[str, TargetSpec]) -> dict[str, TargetSpec]:
        for name in value:
            if not _NAME.fullmatch(name):
                raise ValueError(f"'{name}' cannot be the name of a target")
        taken = {f"{name}_{part}" for name, spec in value.items() if spec.kind == "mask" for part in _PARTS}
        if clash := sorted(taken & set(value)):
            raise ValueError(f"'{clash[0]}' is the name of a column of a mask's file, choose another")
        return value

    @field_validator("urls")
    @classmethod
    def _are_web_addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for url in value:
            if not url.startswith(("https://", "http://")):
                raise ValueError(f"'{url}' is no http(s) address")
        return value


@dataclass(frozen=True)
class ListedFile(FileRef):
    """A file that a manifest lists.

    Args:
        relative: Its place below the data set's root, with ``/`` between folders.
    """

    relative: str = ""


def check_relative(path: str, *, where: str) -> str:
    """Return ``path`` when it surely stays below its root, else raise; ``where`` names the row."""
    posix = PurePosixPath(path)
    windows = PureWindowsPath(path)
    outside = posix.is_absolute() or bool(windows.drive or windows.root) or ".." in posix.parts
    if path and not outside and "\\" not in path and "\0" not in path and str(posix) == path and path != ".":
        return path
    raise DataError(
        f"{where}: the path leaves the data root or is not plain",
        found=repr(path),
        expected="a path below the root with '/' between folders, for instance audio/a.wav",
        hint="no leading '/', no '..', no '\\' and no drive letter; move the file below the root",
    )
