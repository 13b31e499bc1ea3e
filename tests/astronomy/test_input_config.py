from __future__ import annotations

import pytest

from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.output_config import SkyOutput
from tessera.core.config import validate
from tessera.core.errors import ConfigError


def test_lists_may_be_typed_with_commas() -> None:
    assert SkyInput(bands="g, r,i").bands == ("g", "r", "i")  # type: ignore[arg-type]
    assert SkyOutput(formats="csv,fits,csv").formats == ("csv", "fits")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"size_px": 5, "size_arcsec": 2.0}, "give one"),
        ({"one_file_a_band": True}, "needs bands"),
        ({"one_file_a_band": True, "bands": ["g", "g"]}, "names one twice"),
        ({"size_px": 0}, "greater than or equal to 1"),
        ({"imges": "x"}, "did you mean images"),
    ],
)
def test_what_does_not_fit_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        validate(SkyInput, values, source="options of the input")
    assert words in str(caught.value)


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ConfigError):
        validate(SkyOutput, {"formats": "xls"}, source="options of the outputs")
