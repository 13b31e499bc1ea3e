"""The tubule-sensitive network: counts and worked numbers of its sheet."""

from __future__ import annotations

from itertools import product

import pytest
import torch

from tessera.medical.models.tubule_net import (
    Recalibration,
    TubuleNet,
    attention_loss,
    dice_loss,
    focal_loss,
)

CUBE = (80, 192, 304)
P = torch.tensor([[0.9, 0.2, 0.6, 0.1]])
Y = torch.tensor([[1.0, 0.0, 1.0, 0.0]])


def count(size: tuple[int, ...], **options: object) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in TubuleNet(size, **options).parameters())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "expected"),
    list(
        zip(
            product((3, 0), (False, True), (False, True)),
            (4_118_849, 4_124_900, 4_231_232, 4_237_283, 4_117_553, 4_123_604, 4_229_936, 4_235_987),
            strict=True,
        )
    ),
)
def test_counts_of_all_variants(options: tuple[int, bool, bool], expected: int) -> None:
    extra, recalibrate, deep = options
    assert count(CUBE, extra_channels=extra, recalibrate=recalibrate, deep_supervision=deep) == expected


def test_count_for_a_smaller_cube() -> None:
    assert count((64, 64, 64), extra_channels=0, deep_supervision=False) == 4_228_472


def test_worked_losses() -> None:
    assert dice_loss(P, Y).item() == pytest.approx(0.1666667, abs=1e-6)
    assert focal_loss(P, Y).item() == pytest.approx(0.0140905, abs=1e-6)


def test_worked_attention() -> None:
    a = torch.arange(8.0).reshape(1, 1, 2, 2, 2)
    finer = torch.arange(64.0).reshape(1, 1, 4, 4, 4) / 64
    assert attention_loss(a, a, reduction="mean").item() == 0
    assert attention_loss(a, a.flip(-1), reduction="mean").item() == pytest.approx(0.0406873, abs=1e-6)
    assert attention_loss(a, finer, reduction="mean").item() == pytest.approx(0.000517773, abs=1e-8)
    assert attention_loss(a, finer).item() == pytest.approx(64 * 0.000517773, rel=1e-4)


def test_only_the_student_learns_where_to_look() -> None:
    student = torch.rand(1, 1, 2, 2, 2, requires_grad=True)
    teacher = torch.rand(1, 1, 4, 4, 4, requires_grad=True)
    attention_loss(student, teacher).sum().backward()
    assert student.grad is not None and bool((student.grad != 0).any())
    assert teacher.grad is None


def test_a_class_that_does_not_occur_adds_nothing_to_the_focal_loss() -> None:
    none = focal_loss(P, torch.zeros_like(Y))
    by_hand = 0.75 * (-(P**2) * (1 - P).log()).mean()
    assert none.item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_recalibration_follows_its_formula() -> None:
    torch.manual_seed(0)
    gate = Recalibration(4, (2, 3, 5)).double()
    u = torch.randn(1, 4, 2, 3, 5, dtype=torch.float64)
    (wd, bd), (wh, bh), (ww, bw) = ((layer.weight[0], layer.bias) for layer in gate.along)
    of_w = torch.einsum("bchw,h->bcw", torch.einsum("bcdhw,d->bchw", u, wd) + bd, wh) + bh
    of_h = torch.einsum("bchw,w->bch", torch.einsum("bcdhw,d->bchw", u, wd) + bd, ww) + bw
    of_d = torch.einsum("bcdw,w->bcd", torch.einsum("bcdhw,h->bcdw", u, wh) + bh, ww) + bw
    z = of_d[..., None, None] + of_h[:, :, None, :, None] + of_w[:, :, None, None, :]
    expected = u * gate.excite(gate.squeeze(z).relu()).sigmoid()
    assert torch.allclose(gate(u), expected)


def test_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="bound to"):
        Recalibration(4, (2, 2, 2))(torch.zeros(1, 4, 2, 2, 4))
    with pytest.raises(ValueError, match="multiples of 16"):
        TubuleNet((16, 16, 24))


@pytest.mark.parametrize("distill", [True, False])
def test_gradients_reach_every_parameter_of_the_training_losses(distill: bool) -> None:
    torch.manual_seed(0)
    net = TubuleNet((16, 16, 32), distill=distill).train()
    target = (torch.rand(2, 16, 16, 32) < 0.2).long()
    losses = net.training_losses(net(torch.randn(2, 4, 16, 16, 32)), target)
    assert all(part.shape == (2,) for part in losses.values())
    assert ("attention" in losses) is distill
    sum(part.sum() for part in losses.values()).backward()  # type: ignore[union-attr]
    silent = {name for name, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()}
    assert not silent


def test_the_answer_is_a_pair_of_logits_that_equals_the_sigmoid() -> None:
    torch.manual_seed(0)
    net = TubuleNet((16, 16, 32), deep_supervision=False, distill=False)
    x = torch.randn(1, 4, 16, 16, 32)
    with torch.no_grad():
        (airway,) = net.train()(x)
        logits = net.eval()(x)
    assert torch.allclose(logits.softmax(1)[:, 1:], airway.sigmoid(), atol=1e-6)
