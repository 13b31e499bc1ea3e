"""Write, read and verify a bundle: ``members/<i>/``, card, calibration, golden pair, check sums."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tessera.core import pipeline as pipelines
from tessera.core.bundle.card import Calibration, Card, MemberFusion
from tessera.core.bundle.sums import check_sums, rewrite, write_sums
from tessera.core.config import dump_yaml, load_yaml, validate
from tessera.core.data.atomic import write_atomic
from tessera.core.errors import BundleError, ConfigError
from tessera.core.network import build_network
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig

ModelT = TypeVar("ModelT", bound=BaseModel)
SAME_READING = (
    "each input is read and cut once for all members: train them with the same data and inference sections; "
    "features and model may differ"
)
GOLDEN_ROWS = 2
GOLDEN_NUMBERS = 250_000  # of an output, at most: 1 MB
GOLDEN_STEPS = 32.0  # of a mask's golden input per standard deviation
GOLDEN_TOLERANCE = 1e-3  # largest difference of raw outputs between machines


@dataclass(frozen=True)
class Member:
    """One trained network: its complete config and its weights."""

    config: RunConfig
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk whose files all have the recorded check sums.

    Args:
        path: The folder.
        pipeline: The pipeline it belongs to.
        card: What it says about itself.
        calibration: Temperature and thresholds.
        configs: One complete config a member.
        digest: SHA-256 of all that decides the answers, 64 hex digits; metrics in the card do not.
    """

    path: Path
    pipeline: Pipeline
    card: Card
    calibration: Calibration
    configs: tuple[RunConfig, ...]
    digest: str

    @property
    def config(self) -> RunConfig:
        """The first member's config; reading and inference sections are the same in all."""
        return self.configs[0]

    @classmethod
    def load(cls, path: Path | str) -> Bundle:
        """Open a bundle after checking every file against ``SHA256SUMS``."""
        folder = Path(path)
        sums = check_sums(folder)
        card = _read(Card, folder / "card.json", _load_json)
        pipeline = pipelines.get(card.pipeline)
        kind: type[RunConfig] = pipeline.resolve("config")
        configs = tuple(
            _read(kind, folder / "members" / str(i) / "config.yaml", load_yaml) for i in range(card.members)
        )
        calibration = _read(Calibration, folder / "calibration.json", _load_json)
        return cls(folder, pipeline, card, calibration, configs, _digest(sums, card))

    def networks(self, device: torch.device | str = "cpu") -> list[nn.Module]:
        """The members in evaluation mode, on a device."""
        return [self._network(i).to(device).eval() for i in range(self.card.members)]

    def weights(self, member: int = 0) -> dict[str, Tensor]:
        """One member's weights by name."""
        return _load_tensors(self.path / "members" / str(member) / "model.safetensors")

    def replay(self) -> float:
        """Largest absolute difference between the golden output and this machine's."""
        golden = _load_tensors(self.path / "golden.safetensors")
        if set(golden) != {"input", *(_expected(i) for i in range(self.card.members))}:
            raise BundleError(f"{self.path}: the golden pair is not of these members", found=sorted(golden))
        differences = [
            (_kept(_forward(network, _golden_input(golden))) - golden[_expected(i)]).abs().max()
            for i, network in enumerate(self.networks())
        ]
        return float(torch.stack(differences).max())  # NaN stays NaN

    def verify(self) -> float:
        """Replay the golden pair; raises ``BundleError`` when the outputs differ too much."""
        difference = self.replay()
        if not difference <= GOLDEN_TOLERANCE:
            raise BundleError(
                f"{self.path}: the golden input does not give the expected output",
                found=f"outputs differ by up to {difference:.2g}",
                expected=f"at most {GOLDEN_TOLERANCE:g}",
                hint=f"install the versions in the card: {self.card.versions}",
            )
        return difference

    def _network(self, member: int) -> nn.Module:
        with torch.random.fork_rng(devices=[]):  # building draws initial weights that are replaced at once
            network = build_network(self.pipeline, self.configs[member], self.card.target)
        try:
            network.load_state_dict(self.weights(member))
        except RuntimeError as error:
            raise BundleError(
                f"{self.path}: member {member}'s weights do not fit its network",
                found=str(error).splitlines()[-1].strip(),
                hint=f"install the versions in the card: {self.card.versions}",
            ) from None
        if self.configs[member].trainer.channels_last:
            network.use_channels_last()
        return network


def write_bundle(
    folder: Path,
    *,
    pipeline: Pipeline,
    card: Card,
    members: Sequence[Member],
    calibration: Calibration | None = None,
) -> Bundle:
    """Write a bundle under a temporary name, run its golden input, then move it into place."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} already holds files", hint="choose another folder or remove it first")
    _check_members(members, card)
    configs = tuple(member.config for member in members)
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    draft = Bundle(scratch, pipeline, card, calibration or Calibration(), configs, "")
    try:
        _write_files(draft, members)
        sums = check_sums(scratch)
        scratch.chmod(0o755)  # mkdtemp's folders are private
        if folder.exists():
            folder.rmdir()
        scratch.replace(folder)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return replace(draft, path=folder, digest=_digest(sums, card))


def combine(folder: Path, bundles: Sequence[Bundle], *, fusion: MemberFusion | None = None) -> Bundle:
    """One bundle of all members, for instance of the folds of a cross-validation, or of several networks.

    Members may differ in front end and network, but each recording is cut once, so not in how they read it.

    The temperature is the members' geometric mean: each was fitted on its own validation data. Metrics
    and thresholds are left out: they were measured on single members. Who has predictions of all cases
    adds them with `update_card` and `update_calibration`.
    """
    if not bundles:
        raise BundleError("there is no bundle to combine", hint="name at least one")
    first = bundles[0]
    for other in bundles:
        for name in ("pipeline", "target_name", "target", "input_shape"):
            found, expected = getattr(other.card, name), getattr(first.card, name)
            if found != expected:
                raise BundleError(
                    f"{other.path} and {first.path} differ in their {name}",
                    found=found,
                    expected=expected,
                    hint=SAME_READING if name == "input_shape" else None,
                )
        if other.calibration.fusion is not None:
            raise BundleError(
                f"{other.path} is an ensemble with a fusion of its own, which would be lost",
                hint="combine the bundles it was made of",
            )
    temperatures = torch.tensor([b.calibration.temperature for b in bundles], dtype=torch.float64)
    card = first.card.model_copy(
        update={
            "preset": " + ".join(dict.fromkeys(b.card.preset for b in bundles)),
            "parameters": max(b.card.parameters for b in bundles),
            "members": sum(b.card.members for b in bundles),
            "training": tuple(record for b in bundles for record in b.card.training),
            "metrics": (),
        }
    )
    calibration = Calibration(
        temperature=float(temperatures.log().mean().exp()),
        n=sum(b.calibration.n for b in bundles),
        fusion=fusion,
    )
    members = [Member(b.configs[i], b.weights(i)) for b in bundles for i in range(b.card.members)]
    return write_bundle(folder, pipeline=first.pipeline, card=card, members=members, calibration=calibration)


def update_card(bundle: Bundle, **changes: object) -> Bundle:
    """Rewrite the card, for instance with measured metrics; the digest stays."""
    card = validate(Card, {**bundle.card.model_dump(), **changes}, source="the new card")
    rewrite(bundle.path, _card_files(card))
    return Bundle.load(bundle.path)


def update_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Rewrite temperature and thresholds; the digest changes."""
    rewrite(bundle.path, {"calibration.json": _json(calibration)})
    return Bundle.load(bundle.path)


def _write_files(draft: Bundle, members: Sequence[Member]) -> None:
    for i, member in enumerate(members):
        place = draft.path / "members" / str(i)
        place.mkdir(parents=True)
        write_atomic(place / "config.yaml", dump_yaml(member.config.model_dump(mode="json")))
        # a clone each: safetensors refuses weights that share memory
        weights = {
            k: v.detach().cpu().clone(memory_format=torch.contiguous_format)
            for k, v in member.weights.items()
        }
        save_file(weights, place / "model.safetensors")
    for name, text in {**_card_files(draft.card), "calibration.json": _json(draft.calibration)}.items():
        write_atomic(draft.path / name, text)
    save_file(_golden(draft), draft.path / "golden.safetensors")
    write_sums(draft.path)


def _card_files(card: Card) -> dict[str, str]:
    return {"card.json": _json(card), "README.md": card.to_markdown()}


def _digest(sums: str, card: Card) -> str:
    decisive = [line for line in sums.splitlines() if not line.endswith(("  card.json", "  README.md"))]
    text = "\n".join([card.pipeline, card.target_name, card.target.digest(), *decisive])
    return hashlib.sha256(text.encode()).hexdigest()


def _golden(draft: Bundle) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    rows = 1 if draft.card.target.kind == "mask" else GOLDEN_ROWS
    input = torch.randn((rows, *draft.card.input_shape), generator=generator)
    if draft.card.target.kind == "mask":
        input = (GOLDEN_STEPS * input).round().clamp(-127, 127).to(torch.int8)
    golden = {"input": input}
    for i, network in enumerate(draft.networks()):
        output = _kept(_forward(network, _golden_input(golden)))
        if not bool(output.isfinite().all()):
            raise BundleError(
                f"member {i}'s answer is not a number",
                found=output.flatten().tolist()[:4],
                hint="its training diverged; train again with a lower optim.lr",
            )
        golden[_expected(i)] = output
    return golden


def _golden_input(golden: dict[str, Tensor]) -> Tensor:
    """The golden input; that of masks, which is large, is kept in bytes."""
    input = golden["input"]
    return input.float() / GOLDEN_STEPS if input.dtype == torch.int8 else input


def _kept(output: Tensor) -> Tensor:
    """An output, or of a large one evenly spread numbers."""
    if output.numel() <= GOLDEN_NUMBERS:
        return output.contiguous()
    return output.flatten()[:: -(-output.numel() // GOLDEN_NUMBERS)].clone()


def _expected(member: int) -> str:
    return f"expected.{member}"


def _forward(network: nn.Module, input: Tensor) -> Tensor:
    with torch.inference_mode():
        return network(input).float().clone()


def _check_members(members: Sequence[Member], card: Card) -> None:
    if len(members) != card.members:
        raise BundleError("the card does not count the members", found=card.members, expected=len(members))
    first = members[0].config
    for i, member in enumerate(members[1:], start=1):
        for section in ("data", "inference"):
            found = getattr(member.config, section).model_dump(mode="json")
            expected = getattr(first, section).model_dump(mode="json")
            differing = [name for name in {**found, **expected} if found.get(name) != expected.get(name)]
            if differing:
                raise BundleError(
                    f"member {i} reads its input differently from member 0",
                    found=", ".join(f"{section}.{name} {found.get(name)}" for name in differing),
                    expected=", ".join(f"{section}.{name} {expected.get(name)}" for name in differing),
                    hint=SAME_READING,
                )


def _json(model: BaseModel) -> str:
    return json.dumps(model.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def _load_json(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))


def _read(kind: type[ModelT], file: Path, load: Callable[[Path], Any]) -> ModelT:
    try:
        return validate(kind, load(file), source=str(file))
    except (OSError, ValueError) as error:
        raise BundleError(f"cannot read {file}", found=error, expected="UTF-8 JSON") from None
    except ConfigError as error:
        hint = "install the version of Tessera that wrote the bundle; README.md names it"
        raise BundleError(error.problem, found=error.found, expected=error.expected, hint=hint) from None


def _load_tensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read {file}", found=error, expected="a safetensors file") from None
