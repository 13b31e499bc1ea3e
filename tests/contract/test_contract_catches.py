"""The contract's checks are tested on parts that break it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.manifest import Manifest
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.network import Network
from tessera.core.pipeline import Pipeline
from tessera.core.testing import contract, synthetic
from tessera.core.testing.synthetic import SYNTHETIC, SquareWindows, SyntheticWriter, synthetic_cases


class Mean(nn.Module):
    """(B, 1, H, W) -> (B, 3), and a change of the answer."""

    def __init__(self, change: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.change = change
        self.linear = nn.Linear(32, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.linear(x.flatten(1)))


def of(change: Callable[[Tensor], Tensor]) -> Callable[..., Network]:
    return lambda config, n_outputs: Network(nn.AvgPool2d((2, 1)), Mean(change))


sound = of(lambda y: y)
forgetful = of(lambda y: F.dropout(y, 0.5, training=True))
mixing = of(lambda y: y - y.mean(0))
wide = of(lambda y: torch.cat([y, y], 1))
dividing = of(lambda y: y - y + y / (y - y))


def silent_nan(config: Any, n_outputs: int) -> Network:
    class Normalise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return F.avg_pool2d(x / x.abs().amax((1, 2, 3), keepdim=True), (2, 1))

    return Network(Normalise(), Mean(lambda y: y))


def unused(config: Any, n_outputs: int) -> Network:
    network = sound(config, n_outputs)
    network.body.register_parameter("extra", nn.Parameter(torch.ones(2)))
    return network


def hidden_state(config: Any, n_outputs: int) -> Network:
    secret = torch.randn(3)
    return of(lambda y: y + secret)(config, n_outputs)


def branching(config: Any, n_outputs: int) -> Network:
    return of(lambda y: y if float(y.sum()) > 0 else -y)(config, n_outputs)


def with_network(name: str) -> Pipeline:
    return replace(SYNTHETIC, network=f"{__name__}:{name}")


CONFIG = contract.load_preset(SYNTHETIC, "smoke")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("forgetful", "draws from the global generator"),
        ("mixing", "rows alone and among 3 differ"),
        ("wide", r"give \(1, 6\)"),
        ("dividing", "to noise is not finite"),
        ("silent_nan", "to zeros is not finite"),
    ],
)
def test_a_network_that_answers_wrongly_is_caught(name: str, words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        contract.check_network(with_network(name), CONFIG)


def test_a_sound_network_passes() -> None:
    contract.check_network(with_network("sound"), CONFIG)
    contract.check_gradients(with_network("sound"), CONFIG)
    contract.check_state_dict(with_network("sound"), CONFIG)


def test_a_parameter_without_gradient_is_named() -> None:
    with pytest.raises(AssertionError, match=r"no gradient reaches body\.extra"):
        contract.check_gradients(with_network("unused"), CONFIG)


def test_a_gradient_that_is_not_finite_is_named() -> None:
    with pytest.raises(AssertionError, match="not finite for an input of zeros"):
        contract.check_gradients(with_network("silent_nan"), CONFIG)


def test_state_outside_the_state_dict_is_caught() -> None:
    with pytest.raises(AssertionError, match="loaded weights give another answer"):
        contract.check_state_dict(with_network("hidden_state"), CONFIG)


@pytest.mark.slow
def test_a_network_that_branches_on_values_cannot_be_exported() -> None:
    with pytest.raises(Exception, match=r"data-dependent|Dynamic|\.item"):
        contract.check_export(with_network("branching"), CONFIG)


# ---------------------------------------------------------------- data of a pipeline


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "My Sound"}, "is not a name"),
        ({"summary": " "}, "summary is empty"),
        ({"limits": ""}, "limits is empty"),
        ({"task": "guessing"}, "no task guessing"),
        ({"presets": ("full",)}, "no preset smoke"),
        ({"presets": ("smoke", "smoke")}, "named twice"),
        ({"config": "tessera.core.config:Config"}, "not a RunConfig"),
        ({"simulators": {"a": "math:pi"}}, "simulator a cannot be called"),
    ],
)
def test_a_pipeline_that_says_too_little_is_caught(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        contract.check_pipeline(replace(SYNTHETIC, **changes))


def test_a_reference_to_nothing_is_caught() -> None:
    with pytest.raises(AttributeError, match="no_such_reader"):
        contract.check_pipeline(replace(SYNTHETIC, reader="tessera.core.testing.synthetic:no_such_reader"))


@pytest.mark.parametrize("presets", [(), ("smoke", "only-named")])
def test_a_preset_that_escapes_is_named(presets: tuple[str, ...]) -> None:
    with pytest.raises(AssertionError, match=r"synthetic\.(smoke|only-named)\.yaml"):
        contract.check_nothing_escapes([replace(SYNTHETIC, presets=presets)])


def no_writer(config: Any, target: Any) -> object:
    return object()


def test_a_part_that_lacks_a_method_is_named() -> None:
    with pytest.raises(AssertionError, match="writer is not a Writer"):
        contract.check_preset(replace(SYNTHETIC, writer=f"{__name__}:no_writer"), "smoke")


# ---------------------------------------------------------------- transforms, reading, writing


class AmbientTransforms:
    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return input + torch.randn(input.shape), target

    def on_features(self, features: Tensor, target: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        return features, target


def ambient_transforms(config: Any) -> AmbientTransforms:
    return AmbientTransforms()


def test_a_transform_that_draws_elsewhere_is_caught() -> None:
    with pytest.raises(AssertionError, match="global generator"):
        contract.check_transforms(replace(SYNTHETIC, transforms=f"{__name__}:ambient_transforms"), CONFIG)


class OutsideWindows(SquareWindows):
    def plan(self, grid: Geometry) -> list[Region]:
        return [Region((8, 8), (16, 16))]


class ForgetfulWindows(SquareWindows):
    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        return super().draw(grid, np.random.default_rng())


class PlacelessWindows(SquareWindows):
    def read(self, source: Any, region: Region) -> Any:
        return {"input": super().read(source, region)["input"]}


class SmallWindows(SquareWindows):
    @property
    def input_shape(self) -> tuple[int, ...]:
        return (1, 4, 4)


WINDOWS = {kind.__name__: kind for kind in (OutsideWindows, ForgetfulWindows, PlacelessWindows, SmallWindows)}
outside, forgetful_draw, placeless, small = (
    (lambda config, kind=kind: kind(config.data.window)) for kind in WINDOWS.values()
)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("outside", "is not inside"),
        ("forgetful_draw", "draws another region"),
        ("placeless", "drops the geometry"),
        ("small", "read gives"),
    ],
)
def test_windows_that_break_their_promise_are_caught(name: str, words: str) -> None:
    pipeline = replace(SYNTHETIC, windows=f"{__name__}:{name}")
    with pytest.raises(AssertionError, match=words):
        contract.check_reading(pipeline, CONFIG, synthetic_cases(8))


class ChattyWriter(SyntheticWriter):
    def write(self, result: CaseResult, out: Path) -> Written:
        out.mkdir(parents=True, exist_ok=True)
        (out / f"{result.case.id}.log").write_text("not promised")
        return super().write(result, out)


class ForgetfulWriter(SyntheticWriter):
    def write(self, result: CaseResult, out: Path) -> Written:
        return Written((f"{result.case.id}.csv",), super().write(result, out).rows)


class PlaceWriter(SyntheticWriter):
    def write(self, result: CaseResult, out: Path) -> Written:
        written = super().write(result, out)
        (out / written.files[0]).write_text(str(out))
        return written


chatty, forgetful_writer, place = (
    (lambda config, target, kind=kind: kind()) for kind in (ChattyWriter, ForgetfulWriter, PlaceWriter)
)


@pytest.mark.parametrize(
    ("name", "words"),
    [("chatty", "not promised"), ("forgetful_writer", "not written"), ("place", "other bytes")],
)
def test_a_writer_that_breaks_its_promise_is_caught(name: str, words: str, tmp_path: Path) -> None:
    pipeline = replace(SYNTHETIC, writer=f"{__name__}:{name}")
    with pytest.raises(AssertionError, match=words):
        contract.check_writing(pipeline, CONFIG, synthetic_cases(2), tmp_path)


def same_for_all_seeds(out: Path, *, n: int, seed: int, values: Any, progress: Any) -> Manifest:
    out.mkdir(parents=True)
    (out / "a.txt").write_text("the same")
    return synthetic.synthetic_manifest(n, folder=out)


def another_each_time(out: Path, *, n: int, seed: int, values: Any, progress: Any) -> Manifest:
    out.mkdir(parents=True)
    (out / "a.txt").write_text(str(out))
    return synthetic.synthetic_manifest(n, folder=out)


@pytest.mark.parametrize("name", ["same_for_all_seeds", "another_each_time"])
def test_a_simulator_that_ignores_its_seed_is_caught(name: str, tmp_path: Path) -> None:
    pipeline = replace(SYNTHETIC, simulators={"stripes": f"{__name__}:{name}"})
    with pytest.raises(AssertionError, match="seed gives"):
        contract.check_simulator(pipeline, "stripes", tmp_path)
