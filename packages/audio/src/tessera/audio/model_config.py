"""Configs of the networks for sound (no torch)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from tessera.core.config import Config

if TYPE_CHECKING:
    from torch import nn

Gate = Literal["identity", "se", "eca"]
Pool = tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]]


class CRNNConfig(Config):
    """Convolutions and two GRUs over a spectrogram (Choi et al. 2017)."""

    kind: Literal["crnn"] = "crnn"
    widths: tuple[int, ...] = Field((64, 128, 128, 128), min_length=1)
    pools: tuple[Pool, ...] = Field(((2, 2), (3, 3), (4, 4), (4, 4)), description="(frequency, time) a block")
    rnn: tuple[int, ...] = Field((32, 32), min_length=1)
    rnn_pool: Literal["last", "mean"] = "last"
    input_bn: Literal["frequency", "none"] = "frequency"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    head_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    gate: Gate = "identity"

    @model_validator(mode="after")
    def _one_pool_a_block(self) -> Self:
        if len(self.widths) != len(self.pools):
            raise ValueError(f"{len(self.widths)} widths and {len(self.pools)} pools; give one pool a width")
        return self

    def build(self, rows: int, n_outputs: int) -> nn.Module:
        """The network (B, 1, rows, frames) -> (B, n_outputs)."""
        from tessera.audio.models.crnn import CRNN

        return CRNN(n_outputs, n_mels=rows, **self.model_dump(exclude={"kind"}))


class MNetConfig(Config):
    """Very deep networks on the waveform (Dai et al. 2017)."""

    kind: Literal["m3", "m5", "m11", "m18", "m34-res"]
    stem_kernel: int = Field(80, ge=4, le=1024, multiple_of=2, description="samples of the first filters")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    gate: Gate = "identity"
    head: Literal["mean", "mean_max"] = "mean"

    @property
    def least_samples(self) -> int:
        """Shortest input: its stem and each of its pools keep every fourth sample."""
        return 4**3 if self.kind == "m3" else 4**5

    def build(self, rows: int, n_outputs: int) -> nn.Module:
        """The network (B, 1, T) -> (B, n_outputs)."""
        from tessera.audio.models.m_nets import MNet

        del rows
        return MNet(n_outputs, variant=self.kind, **self.model_dump(exclude={"kind"}))


ModelConfig = Annotated[CRNNConfig | MNetConfig, Field(discriminator="kind")]
