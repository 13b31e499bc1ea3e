"""What a pipeline of masks must do beyond the contract of all, and the parts both kinds of checks share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tessera.core.backbone.own_losses import HasTrainingLosses
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, MaskReader, Reader, Source
from tessera.core.data.mask_cache import MaskPreparation
from tessera.core.data.targets import TargetSpec
from tessera.core.data.windows import MaskWindows
from tessera.core.errors import ConfigError
from tessera.core.evaluation.mask_predictions import MaskPredictions, MaskScores
from tessera.core.inference.interfaces import CaseResult
from tessera.core.network import Network
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig

MASK = TargetSpec(kind="mask", classes=("background", "first", "second"))
ONE_THING = TargetSpec(kind="mask", classes=("background", "first"))


def require(condition: object, message: str) -> None:
    """Raise ``AssertionError`` unless the condition holds; unlike ``assert``, also under ``python -O``."""
    if not condition:
        raise AssertionError(message)


@contextmanager
def ambient_seed(seed: int) -> Iterator[None]:
    """Seed torch's global generator inside the block and restore it after."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def fill_zeros(network: Network) -> None:
    """Give parameters that begin at zero small values: a norm's scale of zero lets no gradient through."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for parameter in network.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))


def weighed_answers(network: Network, input: Tensor) -> Tensor:
    """A sum of all answers, each number with a weight of its own: norms hide what is the same all over."""
    generator = torch.Generator().manual_seed(4)
    with ambient_seed(8):
        heads = network.answers(network.front_end(input))
    parts = [(head * (1 + torch.rand(head.shape, generator=generator))).sum() for head in heads]
    return torch.stack(parts).sum()


def mask_target(pipeline: Pipeline, config: RunConfig) -> TargetSpec:
    """Three classes, or two where the network tells one thing from the background and refuses more."""
    try:
        with ambient_seed(0):
            pipeline.resolve("network")(config, n_outputs=len(MASK.classes))
    except ConfigError:
        return ONE_THING
    return MASK


def mask_protocols(pipeline: Pipeline, config: RunConfig) -> dict[str, tuple[Any, type]]:
    """The parts a pipeline of masks has more of, with their protocols."""
    require(pipeline.scores, f"{pipeline.name}: it finds masks, but does not say what one is worth (scores)")
    return {
        "reader": (pipeline.resolve("reader")(config), MaskReader),
        "windows": (pipeline.resolve("windows")(config), MaskWindows),
        "scores": (pipeline.resolve("scores")(config, mask_target(pipeline, config)), MaskScores),
    }


def check_heads(network: Network, input: Tensor, n_outputs: int) -> None:
    """In training the finest answer comes first, of the input's size; the others are smaller, in order.

    Of a network with losses of its own these are asked instead: one for each row.
    """
    answer = network.train().training_answer(network.front_end(input))
    heads = answer if isinstance(answer, list) else [answer]
    if isinstance(network.body, HasTrainingLosses):
        target = example_masks((len(input), *input.shape[2:]), n=n_outputs)
        losses = network.body.training_losses(answer, target)
        for name, loss in losses.items():
            good = loss.shape == (len(input),) and bool(loss.isfinite().all())
            require(good, f"the loss {name} is {loss}, expected a number for each of {len(input)} rows")
        return
    sizes = [tuple(head.shape) for head in heads]
    expected = (len(input), n_outputs, *input.shape[2:])
    require(sizes[0] == expected, f"in training the first answer is {sizes[0]}, expected {expected}")
    require(all(size[:2] == expected[:2] for size in sizes), f"answers {sizes} differ in rows or classes")
    elements = [int(np.prod(size)) for size in sizes]
    require(elements == sorted(elements, reverse=True), f"answers {sizes} are not the finest first")


def example_masks(shape: tuple[int, ...], *, n: int) -> Tensor:
    """Classes (*shape) of blocks, int64, with every class of n."""
    places = torch.arange(int(np.prod(shape))).reshape(shape)
    return places * n // places.numel()


def example_result(case: Case, reader: Reader, spec: TargetSpec) -> CaseResult:
    """A result with a mask that holds every class."""
    source = reader.open(case)
    grid = source.grid
    source.close()
    n = len(spec.classes)
    mask = example_masks(grid.shape, n=n).numpy().astype(np.uint8)
    counts = np.bincount(mask.reshape(-1), minlength=n)
    empty = np.zeros((0, n), dtype=np.float32)
    return CaseResult(case=case, grid=grid, regions=(), scores=empty, summary=counts, mask=mask)


def check_masks(pipeline: Pipeline, config: RunConfig, cases: Iterable[Case], target: TargetSpec) -> None:
    """Masks open on their cases' grids, are prepared with them, and are cut at places of the foreground."""
    reader: MaskReader = pipeline.resolve("reader")(config)
    windows: MaskWindows = pipeline.resolve("windows")(config)
    preparation = MaskPreparation(reader, windows, config.data.target, len(target.classes))
    for case in cases:
        source = reader.open(case)
        try:
            shape, prepared = source.grid.shape, ArraySource(*windows.prepare(source))
        finally:
            source.close()
        mask = reader.open_mask(case, config.data.target)
        try:
            require(mask.grid.shape == shape, f"{case.id}: the mask lies on another grid than its case")
        finally:
            mask.close()
        found = preparation.prepare(case, prepared.grid)
        place = found.draw_place(np.random.default_rng(1))
        if place is not None:
            _check_drawn(windows, prepared, found.classes, place)


def _check_drawn(
    windows: MaskWindows, source: Source, classes: npt.NDArray[Any], place: tuple[int, ...]
) -> None:
    regions = [windows.draw_at(source.grid, place, np.random.default_rng(2)) for _ in range(2)]
    require(regions[0] == regions[1], "the same generator draws another region around a place")
    region = regions[0]
    inside = all(a <= at < b for a, at, b in zip(region.start, place, region.stop, strict=True))
    require(inside, f"{region} does not hold {place}")
    cut = windows.read(ArraySource(classes[None].astype(np.float32), source.grid), region)["input"][:1]
    require(tuple(cut.shape[1:]) == windows.input_shape[1:], f"a mask's window is {tuple(cut.shape[1:])}")
    require(
        set(cut.flatten().tolist()) <= set(np.unique(classes).tolist()) | {0},
        "a window changes the classes of a mask",
    )
    held = int(
        classes[tuple(slice(a, b) for a, b in zip(region.start, region.stop, strict=True))].astype(bool).sum()
    )
    require(int((cut > 0).sum()) == held, "a window loses or adds elements of the foreground")


def check_scores(pipeline: Pipeline, config: RunConfig, cases: Iterable[Case]) -> None:
    """Every case has the same columns; a perfect mask has Dice 1 of what is there; an empty one is scored."""
    reader: Reader = pipeline.resolve("reader")(config)
    spec = mask_target(pipeline, config)
    judge: MaskScores = pipeline.resolve("scores")(config, spec)
    rows, names = [], []
    for case in cases:
        source = reader.open(case)
        grid = source.grid
        source.close()
        mask = example_masks(grid.shape, n=len(spec.classes)).numpy().astype(np.uint8)
        empty = np.zeros_like(mask)
        perfect = judge.case(mask, mask, grid)
        for name in (name for name in perfect if name.startswith("dice_")):
            require(abs(perfect[name] - 1.0) < 1e-6, f"{name} of a perfect mask is {perfect[name]}")
        for predicted, reference in ((mask, mask), (empty, mask), (mask, empty), (empty, empty)):
            rows.append(judge.case(predicted, reference, grid))
            names.append(f"{case.id}{len(rows)}")
    columns = {tuple(row) for row in rows}
    require(len(columns) == 1, f"the columns of the scores change from case to case: {sorted(columns)}")
    MaskPredictions.of(rows, case_id=names, group=names)  # refuses infinite scores
