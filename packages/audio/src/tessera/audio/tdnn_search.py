"""Search a trained supernet for the best network within a cost: ``python -m tessera.audio.tdnn_search``.

The cases of the supernet's own run are used: batch norms are measured on its training cases, networks are
scored on its validation cases, by the equal error rate of all their pairs. Written are all scored networks
(``search.csv``) and the best as a bundle of its own (``bundle``), which predicts, verifies and trains on like
any other.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from torch import Tensor, nn

from tessera.audio.config import SoundConfig
from tessera.audio.model_config import SuperTDNNConfig, TDNNConfig
from tessera.audio.models.efficient_tdnn import (
    Subnet,
    SuperTDNNClassifier,
    TDNNClassifier,
    count_macs,
    count_parameters,
    refit_norms,
)
from tessera.audio.tdnn_space import CostLimit, Found, SearchSpace, search, stage_space
from tessera.audio.verification import all_pairs, equal_error_rate, error_rates
from tessera.core.bundle.bundle import Bundle, Member, update_calibration, write_bundle
from tessera.core.config import validate
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import ConfigError, DataError, TesseraError
from tessera.core.inference.steps import choose_device
from tessera.core.network import Network
from tessera.core.training.bundling import LEAST_CALIBRATION_CASES, fit_calibration
from tessera.core.training.run_folder import SPLITS

BATCH = 32  # windows of a pass
COLUMNS = ("eer", "depth", "widths", "kernels", "concat", "parameters", "macs")

app = typer.Typer(add_completion=False)


class SubnetScores:
    """The error of a supernet's networks on validation windows.

    Args:
        bundle: Of a supernet.
        device: auto, cpu or cuda.
    """

    def __init__(self, bundle: Bundle, *, device: str = "auto") -> None:
        self.model = _sizes(bundle)
        self.device = choose_device(device)
        (network,) = bundle.networks(self.device)
        assert isinstance(network, Network)
        assert isinstance(network.body, SuperTDNNClassifier)
        self.front_end: nn.Module = network.front_end
        self.body: SuperTDNNClassifier = network.body
        self.reader = bundle.pipeline.resolve("reader")(bundle.config)
        self.windows = bundle.pipeline.resolve("windows")(bundle.config)

    def read(self, cases: Sequence[Case]) -> tuple[Tensor, list[int]]:
        """Features (N, 1, F, T) of all windows of the cases, and the case of each."""
        inputs, owner = [], []
        for number, case in enumerate(cases):
            source = self.reader.open(case)
            try:
                for region in self.windows.plan(source.grid):
                    inputs.append(self.windows.read(source, region)["input"])
                    owner.append(number)
            finally:
                source.close()
        with torch.inference_mode():
            parts = [self.front_end(torch.stack(list(part)).to(self.device)) for part in _batches(inputs)]
        return torch.cat(parts), owner

    def network(self, subnet: Subnet, norms: Tensor) -> TDNNClassifier:
        """A network of its own, its batch norms measured on features (N, 1, F, T)."""
        network = self.body.export(subnet)
        whole = norms[: max(1, len(norms) // BATCH) * BATCH]  # batches of equal size
        refit_norms(network, torch.split(whole, BATCH))
        return network

    def error(self, network: TDNNClassifier, features: Tensor, owner: list[int], names: list[str]) -> float:
        """Equal error rate of all pairs of cases; ``owner`` (N,) says whose the features are."""
        with torch.inference_mode():
            vectors = torch.cat([network.embed(part) for part in torch.split(features, BATCH)])
        vectors = nn.functional.normalize(vectors.float()).double().cpu()
        sums = torch.zeros(len(names), vectors.shape[1], dtype=torch.float64)
        trials = all_pairs(sums.index_add(0, torch.tensor(owner), vectors).numpy(), names)
        return equal_error_rate(error_rates(trials.scores, trials.same))


@app.command()
def find(
    bundle: Annotated[Path, typer.Argument(help="Bundle of a supernet, in its run's folder.")],
    *,
    data: Annotated[str, typer.Option(help="The manifest it was trained on.")],
    out: Annotated[Path, typer.Option(help="New folder for search.csv and the best network's bundle.")],
    max_macs: Annotated[int | None, typer.Option(help="Most multiply-adds of a window.")] = None,
    max_parameters: Annotated[int | None, typer.Option(help="Most parameters.")] = None,
    population: Annotated[int, typer.Option(min=2, help="Networks alive at a time; paper: 50.")] = 50,
    generations: Annotated[int, typer.Option(min=0, help="How often they have children; paper: 200.")] = 20,
    norm_cases: Annotated[int, typer.Option(min=1, help="Training cases for the batch norms.")] = 6000,
    seed: Annotated[int, typer.Option(min=0, help="Of the search.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Find the network of a supernet with the least error within a cost, and write it as a bundle."""
    try:
        supernet = Bundle.load(bundle)
        train, val = _own_cases(supernet, data)
        rng = np.random.default_rng(seed)
        chosen = [train[i] for i in sorted(rng.permutation(len(train))[:norm_cases])]
        scores = SubnetScores(supernet, device=device)
        target = supernet.card.target_name
        names = [str(case.targets[target]) for case in val]
        norms = scores.read(chosen)[0]
        features, owner = scores.read(val)
        limit = CostLimit(
            parameters=max_parameters,
            macs=max_macs,
            frames=features.shape[-1],
            n_mels=features.shape[-2],
            embedding=scores.model.embedding,
        )

        def score(subnet: Subnet) -> float:
            return -scores.error(scores.network(subnet, norms), features, owner, names)

        found = search(
            score, limit, rng, space=_space(scores.model), population=population, generations=generations
        )
        write_atomic(out / "search.csv", _table(found, limit))
        best = found[0]
        write_subnet(supernet, best.subnet, scores.network(best.subnet, norms), val, out=out / "bundle")
        typer.echo(
            f"EER {-best.score:.4f} on {len(val)} validation cases; "
            f"{count_parameters(best.subnet, n_mels=limit.n_mels, embedding=limit.embedding):,} parameters; "
            f"{len(found)} networks scored"
        )
        typer.echo(str(out / "bundle"))
    except TesseraError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


def write_subnet(
    supernet: Bundle, subnet: Subnet, network: TDNNClassifier, val: Sequence[Case], *, out: Path
) -> Bundle:
    """A bundle of one of the supernet's networks, calibrated on validation cases."""
    model = TDNNConfig(
        widths=subnet.widths,
        kernels=subnet.kernels,
        concat=subnet.concat,
        embedding=_sizes(supernet).embedding,
        cosine_scale=network.cosine_scale,
    )
    values = {**supernet.config.model_dump(mode="json"), "model": model.model_dump(mode="json")}
    own = validate(SoundConfig, values, source="the best network")
    weights = {f"body.{name}": value for name, value in network.state_dict().items()}
    weights |= {n: v for n, v in supernet.weights().items() if not n.startswith("body.")}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    card = supernet.card.model_copy(update={"parameters": parameters, "members": 1, "metrics": ()})
    made = write_bundle(out, pipeline=supernet.pipeline, card=card, members=[Member(own, weights)])
    if len(val) < LEAST_CALIBRATION_CASES:
        return made
    return update_calibration(made, fit_calibration(made, val))


def _own_cases(supernet: Bundle, data: str) -> tuple[tuple[Case, ...], tuple[Case, ...]]:
    """Training and validation cases of the supernet's run."""
    manifest = Manifest.load(data)
    file = supernet.path.parent / SPLITS
    if not file.is_file():
        raise ConfigError(
            f"{supernet.path} does not lie in its run's folder",
            found=f"no {file}",
            expected="the split it was trained with, beside the bundle",
        )
    split, cases = Split.read(file), manifest.training_cases(supernet.card.target_name)
    train, val = split.cases(cases, "train"), split.cases(cases, "val")
    speakers = [case.targets[supernet.card.target_name] for case in val]
    if not train or len(set(speakers)) < 2 or len(set(speakers)) == len(speakers):
        raise DataError(
            "these validation cases cannot tell networks apart",
            found=f"{len(train)} training cases, {len(val)} validation cases of {len(set(speakers))} classes",
            expected="two classes or more, one of them with two cases",
            hint="give the supernet's own manifest; train it with data.val_fraction=0.15",
        )
    return train, val


def _sizes(supernet: Bundle) -> SuperTDNNConfig:
    config = supernet.config
    if isinstance(config, SoundConfig) and isinstance(config.model, SuperTDNNConfig):
        return config.model
    raise ConfigError(
        f"{supernet.path} is no supernet",
        found=f"model.kind {config.model.kind}" if isinstance(config, SoundConfig) else config.pipeline,
        expected="a bundle of model.kind efficient-tdnn-super",
        hint="tessera train speaker --preset supernet",
    )


def _space(model: SuperTDNNConfig) -> SearchSpace:
    return stage_space(model.stage, width=model.width, depth=model.depth, concat=model.concat)


def _batches(inputs: Sequence[Tensor]) -> list[Sequence[Tensor]]:
    return [inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)]


def _table(found: Sequence[Found], limit: CostLimit) -> str:
    """Every scored network, the best first."""
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\r\n")
    table.writerow(COLUMNS)
    sizes = {"n_mels": limit.n_mels, "embedding": limit.embedding}
    for one in found:
        subnet = one.subnet
        widths, kernels = (" ".join(map(str, values)) for values in (subnet.widths, subnet.kernels))
        cost = (count_parameters(subnet, **sizes), count_macs(subnet, frames=limit.frames, **sizes))
        table.writerow((f"{-one.score:.9g}", subnet.depth, widths, kernels, subnet.concat, *cost))
    return text.getvalue()


if __name__ == "__main__":
    app()
