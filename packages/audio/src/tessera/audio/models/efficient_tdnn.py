"""EfficientTDNN: a network over filter banks of speech, and the supernet its variants are cut from.

Wang et al., "EfficientTDNN: Efficient Architecture Search for Speaker Recognition", arXiv 2103.13581; the
layers are in `tessera.core.backbone.reference.efficient_tdnn`. A `Subnet` says depth, widths, kernels and the
channels pooled; `TDNNClassifier` is one of them with classes after its embedding. `SuperTDNN` holds the
weights of the largest, answers as any subnet, and `export`s it. Shared are the first channels of each layer
(in the Res2Net convolution: of each of its groups), the first blocks, and the middle taps of each kernel,
multiplied by a learnt matrix that starts as the identity. A subnet's batch norms have the largest network's
statistics until `refit_norms` measures its own, without which the smaller ones answer badly (paper: error
rates of 20 % and more).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.reference.efficient_tdnn import EfficientTDNN

SCALE = 8  # groups of the Res2Net convolution
SE_RATIO = 4
ATTENTION = 128  # hidden units of the pooling
KERNELS = (1, 3, 5)


@dataclass(frozen=True)
class Subnet:
    """One network of the search space.

    Args:
        widths: Channels between the blocks, then those inside each block; multiples of 8.
        kernels: Frames of the first layer's kernel, then of each block's: 1, 3 or 5.
        concat: Channels pooled over time.
    """

    widths: tuple[int, ...]
    kernels: tuple[int, ...]
    concat: int

    def __post_init__(self) -> None:
        if len(self.widths) < 2 or len(self.widths) != len(self.kernels):
            raise ValueError(
                f"Subnet: {len(self.widths)} widths and {len(self.kernels)} kernels; "
                "give one of each for the first layer and for each of at least one block"
            )
        if any(width < SCALE or width % SCALE for width in self.widths) or self.concat < 1:
            raise ValueError(f"Subnet: widths {self.widths} are not all multiples of {SCALE}")
        if not set(self.kernels) <= set(KERNELS):
            raise ValueError(f"Subnet: kernels {self.kernels} are not all 1, 3 or 5")

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.widths) - 1

    def build(self, *, n_mels: int = 80, embedding: int = 192) -> EfficientTDNN:
        """The network (B, n_mels, T) -> embeddings (B, embedding), with new weights."""
        width, *inner = self.widths
        return EfficientTDNN(
            n_mels,
            embedding,
            width=width,
            inner=inner,
            kernels=self.kernels,
            dilations=range(2, 2 + self.depth),
            concat=self.concat,
        )

    def fits_into(self, other: Subnet) -> bool:
        """Whether its weights are among the other's."""
        return (
            self.depth <= other.depth
            and self.concat <= other.concat
            and all(a <= b for a, b in zip(self.widths, other.widths, strict=False))
            and all(a <= b for a, b in zip(self.kernels, other.kernels, strict=False))
        )


LARGEST = Subnet((512,) * 5, (5,) * 5, 1536)
BASE = Subnet((512,) * 4, (5, 3, 3, 3), 1536)
MOBILE = Subnet((384, 256, 256, 256), (5, 3, 3, 3), 768)
SMALL = Subnet((256,) * 3, (3,) * 3, 400)


def count_parameters(subnet: Subnet, *, n_mels: int = 80, embedding: int = 192) -> int:
    """Trainable numbers of the network of a subnet."""
    width, *inner = subnet.widths
    first, *kernels = subnet.kernels
    hidden = width // SE_RATIO
    total = n_mels * width * first + 2 * width
    for channels, kernel in zip(inner, kernels, strict=True):
        group = channels // SCALE
        total += 2 * width * channels + 2 * channels + 2 * width
        total += (SCALE - 1) * (group * group * kernel + 2 * group)
        total += 2 * width * hidden + hidden + width
    total += subnet.depth * width * subnet.concat + 2 * subnet.concat * ATTENTION + 4 * subnet.concat
    return total + 2 * subnet.concat * embedding + embedding + 2 * embedding


def count_macs(subnet: Subnet, *, frames: int = 300, n_mels: int = 80, embedding: int = 192) -> int:
    """Multiply-adds as the paper counts them: of convolutions, linear layers, and two a normed value."""
    width, *inner = subnet.widths
    first, *kernels = subnet.kernels
    a_frame = n_mels * width * first + 2 * width
    for channels, kernel in zip(inner, kernels, strict=True):
        group = channels // SCALE
        a_frame += 2 * width * channels + 2 * channels + 2 * width
        a_frame += (SCALE - 1) * (group * group * kernel + 2 * group)
    a_frame += subnet.depth * width * subnet.concat + 2 * subnet.concat * ATTENTION
    once = subnet.depth * 2 * width * (width // SE_RATIO)
    return a_frame * frames + once + 4 * subnet.concat + 2 * subnet.concat * embedding + 2 * embedding


class TDNNClassifier(nn.Module):
    """Filter banks (B, 1, F, T) -> logits (B, K), with an embedding between.

    Args:
        num_classes: K.
        subnet: Depth, widths, kernels and channels pooled.
        n_mels: F.
        embedding: Length E of the embedding.
        cosine_scale: Logits are this times the cosine between embedding and class; None is a linear layer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        subnet: Subnet = BASE,
        n_mels: int = 80,
        embedding: int = 192,
        cosine_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.network = subnet.build(n_mels=n_mels, embedding=embedding)
        self.cosine_scale = cosine_scale
        self.classifier: nn.Module
        if cosine_scale is None:
            self.classifier = nn.Linear(embedding, num_classes)
        else:
            self.classifier = CosineClassifier(embedding, num_classes, scale=cosine_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> logits (B, K); in training B is at least 2."""
        return self.classifier(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> embeddings (B, E)."""
        return self.network(x.squeeze(1))


class CosineClassifier(nn.Module):
    """Embeddings (B, E) -> the cosines of their angles to each of K classes, times a scale, (B, K).

    Args:
        embedding: E.
        num_classes: K.
        scale: Of the cosines; the paper's 30 lets a softmax reach 1.
    """

    def __init__(self, embedding: int, num_classes: int, *, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
        self.weight = nn.Parameter(torch.empty(num_classes, embedding))
        nn.init.xavier_normal_(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(B, E) -> (B, K)."""
        return self.scale * F.linear(F.normalize(x), F.normalize(self.weight))


class SuperTDNN(nn.Module):
    """The weights of the largest network, from which every smaller one is cut.

    Args:
        largest: Which network that is.
        n_mels: F.
        embedding: Length E of the embedding.
        elastic_kernels: Whether kernels can be cropped.
    """

    def __init__(
        self,
        largest: Subnet = LARGEST,
        *,
        n_mels: int = 80,
        embedding: int = 192,
        elastic_kernels: bool = True,
    ) -> None:
        super().__init__()
        self.subnet = largest
        self.n_mels = n_mels
        self.embedding = embedding
        self.largest = largest.build(n_mels=n_mels, embedding=embedding)
        self.crops = nn.ParameterDict(
            {
                f"{name.replace('.', '-')}-{taps}": nn.Parameter(torch.eye(taps))
                for name, weight in self.largest.named_parameters()
                if weight.ndim == 3 and elastic_kernels
                for taps in range(1, weight.shape[-1], 2)
            }
        )

    def forward(self, x: Tensor, subnet: Subnet | None = None) -> Tensor:
        """(B, F, T) -> embeddings (B, E) of a subnet, None being the largest; in training B is at least 2.

        Only the largest network moves the statistics of the batch norms.
        """
        if subnet is None or subnet == self.subnet:
            return self.largest(x)
        self._check(subnet)
        with torch.device("meta"):
            network = subnet.build(n_mels=self.n_mels, embedding=self.embedding).train(self.training)
        values = self.cut(subnet)
        for name, _ in network.named_buffers():
            values[name] = values[name].clone()
        return torch.func.functional_call(network, values, (x,))

    def export(self, subnet: Subnet) -> EfficientTDNN:
        """A network of its own with the subnet's weights; it shares nothing with this one."""
        self._check(subnet)
        network = subnet.build(n_mels=self.n_mels, embedding=self.embedding)
        network.load_state_dict({name: value.detach() for name, value in self.cut(subnet).items()})
        return network.train(self.training)

    def cut(self, subnet: Subnet) -> dict[str, Tensor]:
        """The subnet's weights and statistics by name, with gradients to those of this network."""
        places = _places(subnet, self.subnet)
        cut = {}
        for name, value in self.largest.state_dict(keep_vars=True).items():
            layer = name.rpartition(".")[0]
            if layer not in places:
                continue  # a block too deep
            kept = places[layer].keep(value)
            cut[name] = self._crop(name, kept, places[layer].kernel) if kept.ndim == 3 else kept
        return cut

    def _crop(self, name: str, weight: Tensor, taps: int) -> Tensor:
        """(C_out, C_in, k) -> (C_out, C_in, taps): two taps fewer and a matrix, again and again."""
        while weight.shape[-1] > taps:
            weight = weight[..., 1:-1]
            weight = F.linear(weight, self.crops[f"{name.replace('.', '-')}-{weight.shape[-1]}"])
        return weight

    def _check(self, subnet: Subnet) -> None:
        if not subnet.fits_into(self.subnet):
            raise ValueError(f"SuperTDNN: {subnet} is not part of {self.subnet}")


class SuperTDNNClassifier(nn.Module):
    """Filter banks (B, 1, F, T) -> logits (B, K): in training by a random subnet, else by the largest.

    Each training step draws one subnet, as dropout draws, from torch's generator; when it is not the largest,
    the largest sees the batch too, without gradients, so that its batch norms keep up.

    Args:
        num_classes: K.
        sample: Seed -> subnet of a step.
        largest: The network that holds all others.
        n_mels: F.
        embedding: Length E of the embedding.
        cosine_scale: Of the logits, see `TDNNClassifier`.
        elastic_kernels: Whether kernels can be cropped; subnets of other kernels need it.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        sample: Callable[[int], Subnet],
        largest: Subnet = LARGEST,
        n_mels: int = 80,
        embedding: int = 192,
        cosine_scale: float = 30.0,
        elastic_kernels: bool = True,
    ) -> None:
        super().__init__()
        self.sample = sample
        self.cosine_scale = cosine_scale
        self.network = SuperTDNN(largest, n_mels=n_mels, embedding=embedding, elastic_kernels=elastic_kernels)
        self.classifier = CosineClassifier(embedding, num_classes, scale=cosine_scale)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> logits (B, K); in training B is at least 2."""
        return self.classifier(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> embeddings (B, E)."""
        x = x.squeeze(1)
        if not self.training:
            return self.network(x)
        subnet = self.sample(int(torch.randint(2**31 - 1, ())))
        if subnet != self.network.subnet:
            with torch.no_grad():
                self.network(x)
        return self.network(x, subnet)

    def export(self, subnet: Subnet) -> TDNNClassifier:
        """A network of its own with the subnet's weights and these classes."""
        network = TDNNClassifier(
            self.classifier.weight.shape[0],
            subnet=subnet,
            n_mels=self.network.n_mels,
            embedding=self.network.embedding,
            cosine_scale=self.cosine_scale,
        )
        network.network = self.network.export(subnet)
        network.classifier.load_state_dict(self.classifier.state_dict())
        return network.train(self.training)


@dataclass(frozen=True)
class _Place:
    """What a subnet keeps of a layer: its rows (output channels), columns (input channels), and taps."""

    rows: list[int] | None
    columns: list[int] | None = None
    kernel: int = 1

    def keep(self, value: Tensor) -> Tensor:
        """(C_out, C_in, ...) -> its kept rows and columns."""
        for axis, kept in enumerate((self.rows, self.columns)[: value.ndim]):
            if kept is not None:
                value = value.index_select(axis, torch.tensor(kept, device=value.device))
        return value


def _places(subnet: Subnet, largest: Subnet) -> dict[str, _Place]:
    """By name of the layer; None keeps all."""
    width, *inner = subnet.widths
    between = list(range(width))
    hidden = list(range(width // SE_RATIO))
    concat = list(range(subnet.concat))
    halves = _first_of_parts(subnet.concat, largest.concat, 2)
    slots = _first_of_parts(width, largest.widths[0], subnet.depth)
    places = {
        "stem.0": _Place(between, None, subnet.kernels[0]),
        "stem.2": _Place(between),
        "join.0": _Place(concat, slots),
        "head.pool.squeeze": _Place(None, concat),
        "head.pool.score": _Place(concat),
        "head.norm": _Place(halves),
        "head.linear": _Place(None, halves),
        "norm": _Place(None),
    }
    for i, channels in enumerate(inner):
        group = list(range(channels // SCALE))
        grouped = _first_of_parts(channels // SCALE, largest.widths[i + 1] // SCALE, SCALE)
        layers = {
            "reduce.0": _Place(grouped, between),
            "reduce.2": _Place(grouped),
            "expand.0": _Place(between, grouped),
            "expand.2": _Place(between),
            "gate.squeeze": _Place(hidden, between),
            "gate.excite": _Place(between, hidden),
        }
        for j in range(SCALE - 1):
            layers[f"convs.{j}.0"] = _Place(group, group, subnet.kernels[i + 1])
            layers[f"convs.{j}.2"] = _Place(group)
        places |= {f"blocks.{i}.{name}": place for name, place in layers.items()}
    return places


def _first_of_parts(kept: int, length: int, parts: int) -> list[int]:
    """The first places of each of several parts of one length that lie side by side."""
    return [part * length + place for part in range(parts) for place in range(kept)]


def refit_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Measure the statistics of all batch norms anew, as means over batches (B, ...) of equal size."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    training, momenta = network.training, [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches instead of a moving one
        norm.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)
