"""Ensembles as bundles: shares, learned fusion, and the command that makes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from tessera.core.bundle.bundle import Bundle, Member, combine, write_bundle
from tessera.core.bundle.card import MemberFusion
from tessera.core.cli.app import app
from tessera.core.data.manifest import Manifest
from tessera.core.errors import BundleError
from tessera.core.inference.score import score
from tessera.core.inference.steps import Steps
from tessera.core.testing.synthetic import (
    SYNTHETIC,
    network,
    synthetic_cases,
    synthetic_config,
    synthetic_manifest,
)
from tessera.core.training.stacking import learn_fusion

from .conftest import make_card, make_member

pytest.importorskip("sklearn.linear_model")  # here, where its seconds are no test's
Make = Callable[..., Bundle]


def probabilities(bundle: Bundle, n: int = 12) -> np.ndarray:
    return np.stack(
        [r.summary for r in score(Steps.from_bundle(bundle, device="cpu"), synthetic_cases(n)).results]
    )


def one_that_knows(folder: Path) -> Bundle:
    """A member fitted to the synthetic cases."""
    member, config = make_member(7), synthetic_config()
    net = network(config, 3)
    net.load_state_dict(member.weights)
    windows, reader = SYNTHETIC.resolve("windows")(config), SYNTHETIC.resolve("reader")(config)
    rows, target = [], []
    for case in synthetic_cases(12):
        source = reader.open(case)
        for region in windows.plan(source.grid):
            rows.append(windows.read(source, region)["input"])
            target.append(("fine", "medium", "coarse").index(str(case.targets["label"])))
    input, wanted = torch.stack(rows), torch.tensor(target)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02)
    for _ in range(30):
        optimiser.zero_grad()
        loss = torch.nn.functional.cross_entropy(net(input), wanted)
        torch.autograd.backward(loss)
        optimiser.step()
    return write_bundle(
        folder, pipeline=SYNTHETIC, card=make_card(), members=[Member(config, net.state_dict())]
    )


def test_shares_weigh_the_members_of_a_bundle(make: Make, tmp_path: Path) -> None:
    parts = [make("a", temperature=1.0), make("b", seed=1, temperature=1.0)]
    bundle = combine(tmp_path / "all", parts, fusion=MemberFusion(weights=(3, 1)))
    expected = 0.75 * probabilities(parts[0]) + 0.25 * probabilities(parts[1])
    np.testing.assert_allclose(probabilities(Bundle.load(bundle.path)), expected, atol=1e-5)
    assert bundle.digest != combine(tmp_path / "mean", parts).digest
    bundle.verify()


def test_learned_fusion_listens_to_the_member_that_knows(make: Make, tmp_path: Path) -> None:
    parts = [
        one_that_knows(tmp_path / "good"),
        make("a", temperature=0.05),
        make("b", seed=1, temperature=0.05),
    ]
    plain = combine(tmp_path / "mean", parts)
    fusion = learn_fusion(plain, synthetic_cases(12), device="cpu")
    assert fusion.n == 12
    weights = np.array(fusion.matrix).reshape(3, 3, 3)  # class, member, class
    own = np.abs(weights).sum((0, 2))
    assert own[0] > 2 * own[1:].max()
    bundle = combine(tmp_path / "learned", parts, fusion=fusion)
    target = [("fine", "medium", "coarse").index(str(case.targets["label"])) for case in synthetic_cases(12)]
    assert (probabilities(bundle).argmax(1) == target).mean() == 1.0


def test_an_ensemble_with_a_fusion_is_not_combined_again(make: Make, tmp_path: Path) -> None:
    two = combine(tmp_path / "two", [make("a"), make("b", seed=1)], fusion=MemberFusion(weights=(3, 1)))
    with pytest.raises(BundleError, match="a fusion of its own"):
        combine(tmp_path / "three", [two, make("c", seed=2)])


def test_a_mixed_ensembles_card_names_all_presets(make: Make, tmp_path: Path) -> None:
    parts = [make("a"), make("b", preset="other", parameters=300), make("c", parameters=50)]
    card = combine(tmp_path / "all", parts).card
    assert (card.preset, card.parameters, card.members) == ("smoke + other", 300, 3)


def test_members_that_cut_their_input_differently_are_told_which_field(make: Make, tmp_path: Path) -> None:
    other = make_member(1, inference={"batch_size": 3})
    (tmp_path / "b").mkdir()
    bundle = write_bundle(tmp_path / "b", pipeline=SYNTHETIC, card=make_card(), members=[other])
    with pytest.raises(BundleError, match="member 1 reads its input differently") as caught:
        combine(tmp_path / "all", [make("a"), bundle])
    assert caught.value.found == "inference.batch_size 3"
    assert "features and model may differ" in str(caught.value)


# ---------------------------------------------------------------- the command


def run(*arguments: object) -> tuple[int, str]:
    """Exit code, and what was printed."""
    result = CliRunner().invoke(app, ["bundle", "combine", *map(str, arguments), "--quiet"])
    return result.exit_code, " ".join(result.output.split())


def test_the_command_combines_by_mean_and_by_shares(make: Make, tmp_path: Path) -> None:
    two = combine(tmp_path / "two", [make("a"), make("b", seed=1)])
    one = make("c", seed=2)
    out = tmp_path / "mean"
    assert run(two.path, one.path, "--out", out) == (0, str(out))
    assert Bundle.load(out).calibration.fusion is None
    run(two.path, one.path, "--out", tmp_path / "shares", "--weights", "2,3")
    fusion = Bundle.load(tmp_path / "shares").calibration.fusion
    assert fusion is not None
    assert fusion.weights == (1.0, 1.0, 3.0)  # the share of a bundle of two is split


def test_the_command_learns_from_labelled_cases(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = synthetic_manifest(12)
    monkeypatch.setattr(Manifest, "load", staticmethod(lambda name: manifest))
    parts = [make("a").path, make("b", seed=1).path]
    run(*parts, "--out", tmp_path / "all", "--fusion", "learned", "--data", "stripes", "--device", "cpu")
    bundle = Bundle.load(tmp_path / "all")
    assert bundle.calibration.fusion is not None
    assert bundle.calibration.fusion.n == 12
    assert np.shape(bundle.calibration.fusion.matrix) == (3, 6)
    np.testing.assert_allclose(probabilities(bundle).sum(1), 1.0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--fusion", "learned"), "do not go together"),
        (("--data", "x"), "do not go together"),
        (("--fusion", "learned", "--data", "x", "--weights", "1,1"), "do not go together"),
        (("--weights", "1"), "not one number a bundle"),
        (("--weights", "1,b"), "not one number a bundle"),
        (("--weights", "0,0"), "all zero"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    make: Make, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    parts = [make("a").path, make("b", seed=1).path]
    code, said = run(*parts, "--out", tmp_path / "all", *options)
    assert code == 2
    assert message in said
    assert not (tmp_path / "all").exists()
