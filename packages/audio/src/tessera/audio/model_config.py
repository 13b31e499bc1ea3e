"""Configs of the networks for sound (no torch)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tessera.core.backbone_config import ClassifierConfig, OneGate, PlugConfig, as_config_error
from tessera.core.config import Config
from tessera.core.reference_config import ReferenceConfig

if TYPE_CHECKING:
    from torch import nn

Width = Annotated[int, Field(ge=1, le=4096)]
Budget = Annotated[int, Field(ge=1000, le=1_000_000_000)]
BUDGET = "scale all widths by one factor to this many trainable numbers, within 2 %; null: widths as they are"
Pool = tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]]


class CRNNConfig(Config):
    """Convolutions and two GRUs over a spectrogram (Choi et al. 2017)."""

    kind: Literal["crnn"] = "crnn"
    widths: tuple[Width, ...] = Field((64, 128, 128, 128), min_length=1)
    pools: tuple[Pool, ...] = Field(((2, 2), (3, 3), (4, 4), (4, 4)), description="(frequency, time) a block")
    rnn: tuple[Width, ...] = Field((32, 32), min_length=1)
    parameters: Budget | None = Field(None, description=BUDGET)
    rnn_pool: Literal["last", "mean"] = "last"
    input_bn: Literal["frequency", "none"] = "frequency"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    head_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    gate: OneGate = PlugConfig(kind="identity")

    @model_validator(mode="after")
    def _one_pool_a_block(self) -> Self:
        if len(self.widths) != len(self.pools):
            raise ValueError(f"{len(self.widths)} widths and {len(self.pools)} pools; give one pool a width")
        return self

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.crnn import CRNN
        from tessera.audio.width_rule import widths_for

        options = self.model_dump(exclude={"kind", "parameters", "widths", "rnn"})

        def build(widths: Sequence[int]) -> nn.Module:
            blocks, rnn = widths[: len(self.widths)], widths[len(self.widths) :]
            return CRNN(n_outputs, n_mels=shape[1], widths=blocks, rnn=rnn, **options)

        widths = (*self.widths, *self.rnn)
        with as_config_error("this crnn cannot be built"):
            return build(widths if self.parameters is None else widths_for(self.parameters, widths, build))


class KNetConfig(Config):
    """The convolutional networks the CRNN was compared with (Choi et al. 2017)."""

    kind: Literal["k2c2", "k2c1", "k1c2"]
    widths: tuple[Width, ...] | None = Field(None, min_length=1, description="null: those of the kind")
    pools: tuple[Pool, ...] | None = Field(
        None,
        min_length=1,
        description="(frequency, time) a block; null: the paper's, for 1280 frames or more",
    )
    parameters: Budget | None = Field(None, description=BUDGET)
    input_bn: Literal["frequency", "none"] = "frequency"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    head_dropout: float = Field(0.3, ge=0.0, lt=1.0)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.k_nets import VARIANTS, KNet
        from tessera.audio.width_rule import widths_for

        options = self.model_dump(exclude={"kind", "parameters", "widths"})

        def build(widths: Sequence[int]) -> KNet:
            return KNet(n_outputs, variant=self.kind, n_mels=shape[1], widths=widths, **options)

        widths = self.widths or VARIANTS[self.kind].widths
        with as_config_error(f"this {self.kind} cannot be built"):
            network = build(widths if self.parameters is None else widths_for(self.parameters, widths, build))
            if shape[2] < network.min_frames:
                raise ValueError(
                    f"model.pools need {network.min_frames} frames, a window has {shape[2]}; take smaller "
                    "pools in time, longer windows or a smaller features.hop"
                )
        return network


class TFNetConfig(Config):
    """Conv-3 and Conv-5 on a picture of one size, square or vertical filters (Huzaifah 2017)."""

    kind: Literal["tf"] = "tf"
    layers: Literal[3, 5] = Field(3, description="convolutions and fully connected layers together")
    filters: Literal["square", "vertical"] = Field("square", description="3 x 3, or all rows and 3 frames")
    size: tuple[Width, Width] = Field((37, 50), description="rows and frames the picture is resized to")
    hidden: int = Field(800, ge=1, le=100_000, description="units of the fully connected layer")
    dropout: float = Field(0.5, ge=0.0, lt=1.0)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.tf_nets import TFNet

        del shape  # any size
        with as_config_error("this tf net cannot be built"):
            return TFNet(n_outputs, **self.model_dump(exclude={"kind"}))


class TDNNConfig(Config):
    """Convolutions along time over mel bands and attentive statistics (Wang et al. 2022)."""

    kind: Literal["efficient-tdnn"] = "efficient-tdnn"
    widths: tuple[Width, ...] = Field(
        (512, 512, 512, 512), min_length=2, description="between the blocks, then inside each; multiples of 8"
    )
    kernels: tuple[Literal[1, 3, 5], ...] = Field(
        (5, 3, 3, 3), min_length=2, description="frames: of the first layer, then of each block"
    )
    concat: int = Field(1536, ge=1, le=16_384, description="channels pooled over time")
    embedding: int = Field(192, ge=1, le=4096, description="numbers between the pooling and the classes")
    cosine_scale: float | None = Field(
        None, gt=0.0, le=1000.0, description="classes by the angle of the embedding; null: a linear layer"
    )

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.efficient_tdnn import Subnet, TDNNClassifier

        with as_config_error("this efficient-tdnn cannot be built"):
            subnet = Subnet(self.widths, self.kernels, self.concat)
            return TDNNClassifier(
                n_outputs,
                subnet=subnet,
                n_mels=shape[1],
                embedding=self.embedding,
                cosine_scale=self.cosine_scale,
            )


class SuperTDNNConfig(Config):
    """The supernet of EfficientTDNN; each step trains a random one of its networks (Wang et al. 2022)."""

    kind: Literal["efficient-tdnn-super"] = "efficient-tdnn-super"
    width: Width = Field(512, multiple_of=8, description="most channels between and inside blocks")
    depth: int = Field(4, ge=1, le=16, description="most blocks")
    concat: int = Field(1536, ge=8, le=16_384, multiple_of=8, description="most channels pooled over time")
    embedding: int = Field(192, ge=1, le=4096, description="numbers between the pooling and the classes")
    cosine_scale: float = Field(30.0, gt=0.0, le=1000.0, description="classes by the angle of the embedding")
    stage: Literal["largest", "kernel", "depth", "width-1", "width-2"] = Field(
        "largest",
        description="what differs between the networks of the steps: nothing, kernels, also depths, also "
        "widths from a half, also widths from a quarter; each stage starts from the weights before it",
    )

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.efficient_tdnn import SuperTDNNClassifier
        from tessera.audio.tdnn_space import stage_space

        sizes = {"width": self.width, "depth": self.depth, "concat": self.concat}
        space = stage_space(self.stage, **sizes)
        return SuperTDNNClassifier(
            n_outputs,
            sample=space.sample_by_seed,
            largest=stage_space("width-2", **sizes).largest,
            n_mels=shape[1],
            embedding=self.embedding,
            cosine_scale=self.cosine_scale,
            elastic_kernels=self.stage != "largest",
        )


class RoomTransformerConfig(Config):
    """A transformer over overlapping patches of a picture, made to measure rooms (Wang et al. 2024)."""

    kind: Literal["room-transformer"] = "room-transformer"
    width: int = Field(768, ge=1, le=4096, description="numbers a token")
    depth: int = Field(12, ge=1, le=100, description="layers")
    heads: int = Field(12, ge=1, le=64, description="attention heads; they divide the width")
    hidden: int | None = Field(None, ge=1, le=16_384, description="units inside each MLP; null: 4 x width")
    patch: int = Field(16, ge=1, le=256, description="rows and frames of a patch")
    stride: int = Field(10, ge=1, le=256, description="rows and frames from one patch to the next")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for features of this shape (1, rows, frames)."""
        from tessera.audio.models.room_transformer import RoomTransformer

        with as_config_error("this room-transformer cannot be built"):
            return RoomTransformer(n_outputs, shape=(shape[1], shape[2]), **self.model_dump(exclude={"kind"}))


class MNetConfig(Config):
    """Very deep networks on the waveform (Dai et al. 2017)."""

    kind: Literal["m3", "m5", "m11", "m18", "m34-res"]
    stem_kernel: int = Field(80, ge=4, le=1024, multiple_of=2, description="samples of the first filters")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    gate: OneGate = PlugConfig(kind="identity")
    head: Literal["mean", "mean_max", "fc"] = Field(
        "mean", description="fc: two layers of 1000 units over the whole last map, as in m3-fc to m34-fc"
    )

    @property
    def least_samples(self) -> int:
        """Shortest input: its stem and each of its pools keep every fourth sample."""
        return 4**3 if self.kind == "m3" else 4**5

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for sound of this shape (1, T)."""
        from tessera.audio.models.m_nets import MNet

        samples = shape[1] if self.head == "fc" else None  # else any length
        with as_config_error(f"this {self.kind} cannot be built"):
            return MNet(n_outputs, variant=self.kind, samples=samples, **self.model_dump(exclude={"kind"}))


class EncoderModelConfig(ClassifierConfig):
    """The backbone's encoder and head, over pictures of sound or over the waveform itself."""

    kind: Literal["encoder"] = "encoder"  # type: ignore[assignment]


PictureNetConfig = (
    CRNNConfig | KNetConfig | TFNetConfig | TDNNConfig | SuperTDNNConfig | RoomTransformerConfig
)
ModelConfig = Annotated[
    PictureNetConfig | MNetConfig | EncoderModelConfig | ReferenceConfig, Field(discriminator="kind")
]
