from __future__ import annotations

import pytest
import torch

from tessera.core.run_config import AugmentConfig
from tessera.core.transforms.compose import StandardTransforms
from tessera.core.transforms.interface import BatchTransforms


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


X = torch.randn(4, 1, 8, 6, generator=generator(9))
Y = torch.eye(4)


def test_the_default_config_changes_nothing() -> None:
    transforms = StandardTransforms(AugmentConfig())
    assert isinstance(transforms, BatchTransforms)
    for change in (transforms.on_input, transforms.on_features):
        x, y = change(X, Y, generator())
        assert x is X
        assert y is Y


def test_features_are_mixed_with_their_target() -> None:
    x, y = StandardTransforms(AugmentConfig(mixup_alpha=1.0)).on_features(X, Y, generator())
    # the target's row holds the shares, so it says how the features were mixed
    assert torch.allclose(x, torch.einsum("ij,j...->i...", y, X), atol=1e-6)
    assert not torch.equal(x, X)


def test_raw_input_is_never_mixed_so_that_silence_stays_silent() -> None:
    x, y = StandardTransforms(AugmentConfig(mixup_alpha=1.0)).on_input(X, Y, generator())
    assert x is X
    assert y is Y


def test_masks_hide_a_part_of_the_features_and_leave_the_target() -> None:
    transforms = StandardTransforms(AugmentConfig(mask_count=(1, 1), mask_width=(0.5, 0.5)))
    masked, same = transforms.on_features(X, Y, generator())
    assert same is Y
    assert 0 < int((masked != X).sum()) < X.numel()


def test_masks_come_after_the_mixing() -> None:
    both = StandardTransforms(AugmentConfig(mixup_alpha=1.0, mask_count=(1, 1), mask_width=(0.5, 0.5)))
    mixed, _ = StandardTransforms(AugmentConfig(mixup_alpha=1.0)).on_features(X, Y, generator())
    masked, _ = both.on_features(X, Y, generator())
    hidden = masked != mixed
    mean = mixed.mean(dim=(1, 2, 3), keepdim=True).expand_as(mixed)
    assert 0 < int(hidden.sum()) < X.numel()
    assert torch.allclose(masked[hidden], mean[hidden])


def test_the_same_generator_gives_the_same_change() -> None:
    transforms = StandardTransforms(AugmentConfig(mixup_alpha=0.5))
    first, second = (transforms.on_features(X, Y, generator(4))[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_transform_that_does_nothing_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    StandardTransforms(AugmentConfig(mask_width=(0.1,)))
    transforms = StandardTransforms(AugmentConfig(mixup_alpha=1.0, mask_count=(1, 0), mask_width=(0.1, 0.0)))
    for _ in range(2):
        transforms.on_features(X[:1, :, :1], Y[:1], generator())
    messages = [record.getMessage() for record in caplog.records]
    assert len(messages) == 3
    assert "mask_count asks for no mask" in messages[0]
    assert "batch of one row" in messages[1]
    assert "below one element" in messages[2]
