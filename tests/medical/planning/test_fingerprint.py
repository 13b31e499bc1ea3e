"""Facts of a data set that can be counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tessera.core.errors import DataError
from tessera.medical.planning.fingerprint import (
    ClassFacts,
    Fingerprint,
    channel_facts,
    class_facts,
    take_fingerprint,
)

from .conftest import CLASSES, Memory, scan


def test_facts_of_a_case_are_those_counted_by_hand(memory: Memory) -> None:
    image, mask = scan(0)
    image[:4] = 0  # a quarter of the voxels is cut away
    affine = np.array([[0, 2.0, 0, 0], [0.5, 0, 0, 0], [0, 0, 1.0, 0], [0, 0, 0, 1]])
    case = memory.add("a", image, mask, affine=affine)
    found = take_fingerprint([case], memory, target="label", classes=CLASSES)
    one = found.cases[0]
    assert one.shape == (18, 12, 20)  # to the right, to the front, up
    assert one.spacing_mm == (2.0, 0.5, 1.0)
    assert one.relative_size == 0.75
    assert one.greatest == (100.0,)
    assert one.classes == (ClassFacts(504, 1, 504.0), ClassFacts(8, 1, 8.0))


def test_whole_images_count_where_nothing_is_cropped(memory: Memory) -> None:
    image, mask = scan(0)
    image[:4] = 0
    case = memory.add("a", image, mask)
    found = take_fingerprint([case], memory, target="label", classes=CLASSES, crop=False)
    assert found.cases[0].shape == (16, 18, 20)
    assert found.cases[0].relative_size == 1.0


def test_intensities_are_those_of_the_foreground_of_all_cases(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tessera.medical.planning.fingerprint.SAMPLES", 40_000)
    cases = [memory.add(name, *scan(0)) for name in "ab"]
    facts = take_fingerprint(cases, memory, target="label", classes=CLASSES).channels[0]
    lesion = 8 / 512
    assert facts.mean == pytest.approx(100 - 50 * lesion, abs=0.15)
    assert facts.std == pytest.approx(50 * np.sqrt(lesion * (1 - lesion)), rel=0.1)
    assert (facts.least, facts.median, facts.greatest) == (50, 100, 100)


def test_channel_facts_of_known_numbers() -> None:
    facts = channel_facts(np.arange(1001.0))
    assert (facts.low, facts.high, facts.median, facts.mean) == (5.0, 995.0, 500.0, 500.0)
    assert facts.std == pytest.approx(np.sqrt((1001**2 - 1) / 12))


def test_parts_of_a_class_are_counted_by_touching_corners() -> None:
    labels = np.zeros((6, 6, 6), dtype=np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = 1  # one part by the corner
    labels[5, 5, 5] = 1
    labels[1, 1, 2] = labels[5, 5, 4] = 2  # touches the other class: still parts of their own
    assert class_facts(labels, 4, 0.5) == (
        ClassFacts(3, 2, 0.5),
        ClassFacts(2, 2, 0.5),
        ClassFacts(0, 0, 0.0),
    )


def test_a_fingerprint_survives_json(memory: Memory) -> None:
    cases = [memory.add(name, *scan(0)) for name in "ab"]
    found = take_fingerprint(cases, memory, target="label", classes=CLASSES)
    assert Fingerprint.from_json(found.to_json()) == found


def test_order_of_the_cases_does_not_matter(memory: Memory) -> None:
    cases = [memory.add(str(number), *scan(number)) for number in range(3)]
    there = take_fingerprint(cases, memory, target="label", classes=CLASSES)
    assert take_fingerprint(cases[::-1], memory, target="label", classes=CLASSES) == there


def test_a_bad_file_is_named(memory: Memory) -> None:
    case = memory.add("broken", *scan(0))
    memory.images.clear()
    with pytest.raises(DataError, match=r"case broken(?s:.*)OSError: file is cut short"):
        take_fingerprint([case], memory, target="label", classes=CLASSES)


def test_a_class_outside_the_list_is_named(memory: Memory) -> None:
    image, mask = scan(0)
    mask[0, 0, 0] = 9
    with pytest.raises(DataError, match=r"case a(?s:.*)9 \(1 voxels\)"):
        take_fingerprint([memory.add("a", image, mask)], memory, target="label", classes=CLASSES)


def test_shapes_and_channels_must_agree(memory: Memory) -> None:
    image, mask = scan(0)
    other = memory.add("a", image, mask[:-1])
    with pytest.raises(DataError, match="case a: image and mask differ in shape"):
        take_fingerprint([other], memory, target="label", classes=CLASSES)
    pair = [memory.add("a", image, mask), memory.add("b", np.stack([image, image]), mask)]
    with pytest.raises(DataError, match="case b: another number of channels"):
        take_fingerprint(pair, memory, target="label", classes=CLASSES)


def test_masks_of_nothing_are_refused(memory: Memory) -> None:
    image, mask = scan(0)
    with pytest.raises(DataError, match="anything but background"):
        take_fingerprint([memory.add("a", image, 0 * mask)], memory, target="label", classes=CLASSES)
    cases = [memory.add("a", image, 0 * mask), memory.add("b", image, mask)]
    assert take_fingerprint(cases, memory, target="label", classes=CLASSES).cases[0].classes[0].voxels == 0
