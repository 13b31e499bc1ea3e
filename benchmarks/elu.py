"""CRNN on a CPU: our ELU and channels last in memory beside torch's ELU and plain memory, outputs compared.

Forward of one batch, and a step of training (forward, backward, Adam); the two take turns on one thread.
Run: python benchmarks/elu.py [--preset crnn] [--batch 8] [--repeats 10] [--json]
"""

from __future__ import annotations

import argparse
import copy
import os
import sys
from collections.abc import Callable

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before torch loads

import torch
from bundles import preset_config
from machine import Record, show
from timing import median_seconds
from torch import Tensor, nn

from tessera.core.backbone.activations import ELU
from tessera.core.network import Network
from tessera.core.pipeline import get

CLASSES = 50
LARGEST_DIFFERENCE = 1e-4  # relative to the largest value, of the logits and of each gradient


def plain(network: Network) -> Network:
    """A copy with torch's own ELU."""
    copied = copy.deepcopy(network)
    for parent in list(copied.modules()):
        for name, child in parent.named_children():
            if isinstance(child, ELU):
                setattr(parent, name, nn.ELU())
    return copied


def gradients(network: Network, features: Tensor, target: Tensor) -> list[Tensor]:
    """Logits, and the gradients of all parameters, without dropout's chance."""
    network.eval()
    logits = network.answer(features)
    loss = nn.functional.cross_entropy(logits, target)
    return [logits.detach(), *torch.autograd.grad(loss, list(network.body.parameters()))]


def training_step(network: Network, features: Tensor, target: Tensor) -> Callable[[], None]:
    """One batch of training."""
    optimizer = torch.optim.Adam(network.body.parameters(), lr=1e-4)

    def step() -> None:
        network.train()
        optimizer.zero_grad()
        nn.functional.cross_entropy(network.answer(features), target).backward()
        optimizer.step()

    return step


def measure(preset: str, *, batch: int, repeats: int) -> Record:
    """Check that both give the same, then time both."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    pipeline = get("sound")
    config = preset_config(pipeline, preset)
    ours: Network = pipeline.resolve("network")(config, n_outputs=CLASSES)
    if not any(isinstance(module, ELU) for module in ours.modules()):
        sys.exit(f"{preset} has no ELU; try crnn")
    samples = round(config.data.window_s * config.data.sample_rate_hz)
    with torch.no_grad():
        features = ours.front_end(torch.randn(batch, 1, samples))
    target = torch.arange(batch) % CLASSES
    theirs = plain(ours)
    ours.use_channels_last()
    found, expected = (gradients(network, features, target) for network in (ours, theirs))
    scale = max(float(value.abs().max()) for value in expected[1:])
    difference = max(
        float((found[0] - expected[0]).abs().max() / expected[0].abs().max()),
        *(float((a - b).abs().max()) / scale for a, b in zip(found[1:], expected[1:], strict=True)),
    )
    if not difference <= LARGEST_DIFFERENCE:
        sys.exit(f"logits or gradients differ by {difference:.1e} of the largest")
    steps = {name: training_step(n, features, target) for name, n in (("ours", ours), ("torch", theirs))}
    training = median_seconds(steps, repeats=repeats)
    ours.eval(), theirs.eval()
    with torch.inference_mode():
        forward = median_seconds(
            {"ours": lambda: ours.answer(features), "torch": lambda: theirs.answer(features)}, repeats=repeats
        )
    return {
        "preset": preset,
        "batch": batch,
        "forward_ms": 1e3 * forward["ours"],
        "forward, times_faster": forward["torch"] / forward["ours"],
        "training step_ms": 1e3 * training["ours"],
        "training step, times_faster": training["torch"] / training["ours"],
        "largest_difference": difference,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--preset", default="crnn")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    show([measure(options.preset, batch=options.batch, repeats=options.repeats)], as_json=options.json)


if __name__ == "__main__":
    main()
