from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.config import validate
from tessera.core.errors import ConfigError
from tessera.core.mask_config import MaskAugmentConfig
from tessera.core.transforms.interface import BatchTransforms
from tessera.core.transforms.masked import MaskedTransforms

PROBABILITIES = [name for name in MaskAugmentConfig.model_fields if name.endswith("_probability")]
OFF = dict.fromkeys(PROBABILITIES, 0.0)
ON = dict.fromkeys(PROBABILITIES, 1.0)
SHAPES = [(20,), (12, 9), (8, 7, 6)]


def make(**values: Any) -> MaskedTransforms:
    return MaskedTransforms(validate(MaskAugmentConfig, values, source="test"))


def example(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = torch.randint(0, 4, (4, *shape), generator=generator)
    return torch.randn((4, 2, *shape), generator=generator), target


def test_the_probabilities_and_ranges_are_those_of_nnunet() -> None:
    config = MaskAugmentConfig()
    assert {name: getattr(config, name) for name in PROBABILITIES} == {
        "rotation_probability": 0.2,
        "scaling_probability": 0.2,
        "noise_probability": 0.1,
        "blur_probability": 0.2,
        "brightness_probability": 0.15,
        "contrast_probability": 0.15,
        "low_resolution_probability": 0.25,
        "gamma_probability": 0.3,
        "gamma_inverted_probability": 0.1,
    }
    assert (config.scaling, config.gamma, config.low_resolution) == ((0.7, 1.4), (0.7, 1.5), (0.5, 1.0))


@pytest.mark.parametrize("shape", SHAPES)
def test_everything_at_once_keeps_shapes_types_and_classes(shape: tuple[int, ...]) -> None:
    input, target = example(*shape)
    transforms = make(**ON, swap_axis=0, swap_classes=[(1, 2)])
    assert isinstance(transforms, BatchTransforms)
    images, masks = transforms.on_input(input, target, torch.Generator().manual_seed(1))
    assert images.shape == input.shape
    assert masks.shape == target.shape
    assert masks.dtype == torch.int64
    assert set(masks.flatten().tolist()) <= {0, 1, 2, 3}
    assert images.isfinite().all()
    assert not torch.equal(images, input)


def test_the_same_generator_gives_the_same_change_and_draws_from_nothing_else() -> None:
    input, target = example(12, 9)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = make(**ON).on_input(input, target, torch.Generator().manual_seed(1))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(1)
    second = make(**ON).on_input(input, target, torch.Generator().manual_seed(1))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_draw_replays() -> None:
    input, target = example(12, 9)
    transforms = make(**ON)
    params = transforms.draw(input.shape, torch.Generator().manual_seed(2))
    first, again = (transforms.apply(input, target, params) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_with_all_odds_at_zero_only_mirrors_are_left() -> None:
    input, target = example(12, 9)
    images, masks = make(**OFF, mirror_axes=[]).on_input(input, target, torch.Generator().manual_seed(3))
    assert torch.equal(images, input)
    assert torch.equal(masks, target)
    mirrored, _ = make(**OFF).on_input(input, target, torch.Generator().manual_seed(3))
    assert torch.equal(mirrored.flatten(1).sort().values, input.flatten(1).sort().values)
    assert not torch.equal(mirrored, input)


@pytest.mark.parametrize("shape", SHAPES)
def test_what_moves_the_image_moves_the_mask(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(4)
    target = torch.zeros((6, *shape), dtype=torch.long)
    target[(slice(None), *(slice(n // 4, n // 2 + 1) for n in shape))] = 1
    transforms = make(**(OFF | {"rotation_probability": 1.0, "scaling_probability": 1.0}))
    images, masks = transforms.on_input(target[:, None].float(), target, generator)
    agree = ((images[:, 0] > 0.5).long() == masks).float().mean()
    assert float(agree) > 0.9
    assert masks.any()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"mixup_alpha": 0.2}, "mixup_alpha"),
        ({"gamma": [1.5, 0.7]}, "smaller number first"),
        ({"low_resolution": [0.5, 1.5]}, "above 1"),
        ({"swap_classes": [[1, 2]]}, "swap_axis"),
        ({"swap_axis": 0, "swap_classes": [[1, 1]]}, "one partner"),
        ({"swap_axis": 0, "swap_classes": [[1, 2], [2, 3]]}, "one partner"),
    ],
)
def test_what_makes_no_sense_is_refused(values: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make(**values)
    assert words in str(caught.value)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_but_for_the_noise() -> None:
    input, target = example(12, 9, 8)
    transforms = make(**(ON | {"noise_probability": 0.0}))
    params = transforms.draw(input.shape, torch.Generator().manual_seed(2))
    on_cpu = transforms.apply(input, target, params)
    on_gpu = transforms.apply(input.cuda(), target.cuda(), params)
    torch.testing.assert_close(on_gpu[0].cpu(), on_cpu[0], atol=1e-3, rtol=0)
    assert (on_gpu[1].cpu() == on_cpu[1]).float().mean() > 0.999
