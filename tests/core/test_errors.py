from __future__ import annotations

import copy
import pickle
import threading

import pytest

from tessera.core.errors import BundleError, ConfigError, DataError, TesseraError


@pytest.mark.parametrize("kind", [TesseraError, ConfigError, DataError, BundleError])
def test_an_error_crosses_a_process_boundary_with_its_fields(kind: type[TesseraError]) -> None:
    error = kind("cannot read a.wav", found="0 bytes", expected="a WAV file", hint="copy it again")
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is kind
    assert (back.problem, back.found, back.expected, back.hint) == (
        "cannot read a.wav",
        "0 bytes",
        "a WAV file",
        "copy it again",
    )
    assert str(back) == str(error) == str(copy.copy(error))


def test_what_cannot_be_pickled_crosses_as_text() -> None:
    error = DataError("locked", found=threading.Lock(), expected=3)
    back = pickle.loads(pickle.dumps(error))
    assert str(back) == str(error)


def test_fields_that_were_not_given_are_not_printed() -> None:
    assert str(DataError("cannot read a.wav")) == "cannot read a.wav"
    assert str(DataError("bad", found=0, hint="stop")) == "bad\n  found:    0\n  try:      stop"


def test_one_line_holds_everything() -> None:
    error = ConfigError("two\nlines", found="a   b\tc", expected=(), hint="go\r\non")
    assert error.one_line() == "two; lines; found: a b c; expected: (); try: go; on"


def test_every_kind_is_caught_as_one() -> None:
    with pytest.raises(TesseraError, match="cannot read"):
        raise BundleError("cannot read")
