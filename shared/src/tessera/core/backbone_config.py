"""Configs of the slots and of the networks over them; torch is imported by ``build`` alone.

A plug is written ``gate: eca``, or ``gate: {kind: eca, kernel: 5}`` with options, or, where a network has
stages, as a list with one plug a stage. `PLUG_NAMES` repeats the names in the tables of
`tessera.core.backbone.slots`, so that a misspelt one is told without torch; a test compares the two. Options
are checked when the network is built.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PositiveInt,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema

from tessera.core.config import Config, TrainingOnly
from tessera.core.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from tessera.core.backbone.blocks import SpatialDims
    from tessera.core.backbone.encoders import MapEncoder
    from tessera.core.backbone.layout import EncoderLayout

PLUG_NAMES: dict[str, tuple[str, ...]] = {
    "down": (
        "all_cnn",
        "avg",
        "conv",
        "ecvit",
        "log_polar",
        "max",
        "patch",
        "softpool",
        "sope",
        "spd",
        "vmamba",
    ),
    "mixer": (
        "conv",
        "conv_kan",
        "dhvt",
        "dualtoken",
        "ecvit",
        "gamba",
        "ghost",
        "mobilevit",
        "replk",
        "res2net",
        "scnn",
        "shiftwise",
        "sk",
        "ss2d",
        "token_mlp",
    ),
    "gate": ("das", "eca", "ge", "ge_minus", "ge_plus", "identity", "sae", "se", "ulsam"),
    "adn": ("bn_elu", "bn_relu", "ibn_a", "ibn_b", "ln_gelu", "selu"),
    "route": ("concat", "last", "skip_block", "sum"),
    "ffn": ("daff", "ecvit", "mlp"),
    "head": ("asp", "conv_mean", "mean", "mean_max", "spp"),
    "weights": ("conditioning", "lecun_normal", "none", "transposed"),
}

RESNET_BASES: dict[str, dict[str, Any]] = {
    "resnet18": {},
    "resnet34": {"depths": (3, 4, 6, 3)},
    "resnet50": {"widths": (256, 512, 1024, 2048), "depths": (3, 4, 6, 3), "ratio": 0.25},
}
RESNET_BASES["resnext50"] = RESNET_BASES["resnet50"] | {"ratio": 0.5, "groups": 32}
RESNET_BASES["se_resnet50"] = RESNET_BASES["resnet50"] | {"gate": "se"}
RESNET_BASES["se_resnext50"] = RESNET_BASES["resnext50"] | {"gate": "se"}


class PlugConfig(Config):
    """A plug's name and whatever options its builder knows."""

    model_config = ConfigDict(extra="allow")

    kind: str


@dataclass(frozen=True)
class Slot:
    """Marks a field as a plug of this slot, or as a tuple of them, one a stage."""

    name: str

    def read(self, value: Any) -> Any:
        """A plug from its name or from its name and options; a list item by item."""
        if value is None or isinstance(value, PlugConfig):
            return value
        if isinstance(value, list | tuple):
            return tuple(self.read(plug) for plug in value)
        plug = {"kind": value} if isinstance(value, str) else value
        names = PLUG_NAMES[self.name]
        known = ", ".join(names)
        if not isinstance(plug, Mapping) or not isinstance(plug.get("kind"), str):
            raise ValueError(
                f"a {self.name} is a name, or a name under kind beside its options; choose one of: {known}"
            )
        if plug["kind"] not in names:
            raise ValueError(f"there is no {self.name} {plug['kind']!r}; choose one of: {known}")
        return PlugConfig(**plug)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self.read, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        name = {"enum": list(PLUG_NAMES[self.name])}
        plug = {"type": "object", "properties": {"kind": name}, "required": ["kind"]}
        branches = [name, plug]
        if "PlugConfig" not in str(handler(schema).get("$ref", "")):
            branches.append({"type": "array", "items": {"anyOf": [name, plug]}})
        return {"anyOf": branches}


OneDown = Annotated[PlugConfig, Slot("down")]
OneGate = Annotated[PlugConfig, Slot("gate")]
OneRoute = Annotated[PlugConfig, Slot("route")]
OneHead = Annotated[PlugConfig, Slot("head")]
_Plugs = PlugConfig | tuple[PlugConfig, ...]
_PlugsOrNone = PlugConfig | tuple[PlugConfig | None, ...]
Downs = Annotated[_PlugsOrNone, Slot("down")]
Mixers = Annotated[_Plugs, Slot("mixer")]
Gates = Annotated[_Plugs, Slot("gate")]
Adns = Annotated[_Plugs, Slot("adn")]
Routes = Annotated[_Plugs, Slot("route")]
Ffns = Annotated[_PlugsOrNone, Slot("ffn")]
Weights = Annotated[_Plugs, Slot("weights")]

Sizes = PositiveInt | tuple[PositiveInt, ...]
_LAST = PlugConfig(kind="last")
_CONV_1 = PlugConfig.model_validate({"kind": "conv", "kernel": 1, "bias": False})
_CONV_7 = PlugConfig.model_validate({"kind": "conv", "kernel": 7, "bias": False})
_MAX_3 = PlugConfig.model_validate({"kind": "max", "kernel": 3})


class EncoderConfig(Config):
    """A stem and stages of blocks over the slots; see `tessera.core.backbone.layout.EncoderLayout`."""

    kind: Literal["encoder"] = "encoder"
    base: str | None = Field(None, description="network whose values are the defaults; null: resnet18")
    block: Literal["bottleneck", "metaformer"] = "bottleneck"
    widths: tuple[PositiveInt, ...] = Field((64, 128, 256, 512), min_length=1, description="channels a stage")
    depths: tuple[PositiveInt, ...] = Field((2, 2, 2, 2), min_length=1, description="blocks a stage")
    strides: tuple[Sizes, ...] = Field((1, 2, 2, 2), min_length=1, description="stride of each stage")
    ratio: float = Field(1.0, gt=0.0, le=64.0, description="inner over outer width of a bottleneck")
    pointwise: bool | None = Field(
        None, description="whether blocks have 1x1 layers; null: unless ratio is 1"
    )
    groups: PositiveInt | Literal["depthwise"] = 1
    shortcut: OneDown | None = Field(_CONV_1, description="where shape or channels change; null: none there")
    act_after_add: bool = Field(True, description="whether the sum with the shortcut is activated")
    ffn: Ffns | None = PlugConfig(kind="mlp")
    layer_scale: float | None = Field(None, gt=0.0, description="first factor of branches; null: no factors")
    final_norm: bool | None = Field(None, description="norm after the last stage; null: in metaformers")
    mixer: Mixers = PlugConfig(kind="conv")
    gate: Gates = PlugConfig(kind="identity")
    gate_position: Literal["last", "after_mixer"] = "last"
    adn: Adns = PlugConfig(kind="bn_relu")
    down: Downs | None = Field(None, description="before stages; null: their first block does it")
    route: Routes = _LAST
    input_map: OneDown | None = Field(None, description="of the input onto itself, such as log_polar")
    stem: OneDown = _CONV_7
    stem_width: PositiveInt = 64
    stem_stride: Sizes = 2
    stem_adn: bool = Field(True, description="whether normalisation follows stem and downs")
    stem_pool: OneDown | None = _MAX_3
    stem_pool_stride: Sizes = 2
    drop_path: float = Field(0.0, ge=0.0, lt=1.0, description="chance to skip the last block in training")
    input_size: tuple[PositiveInt, ...] | None = Field(
        None, description="size of the input, for plugs made for one size"
    )

    @model_validator(mode="before")
    @classmethod
    def _values_of_base(cls, values: Any) -> Any:
        base = values.get("base") if isinstance(values, Mapping) else None
        if base is None:
            return values
        if base not in RESNET_BASES:
            raise ValueError(f"there is no base {base!r}; choose one of: {', '.join(RESNET_BASES)}")
        return {**RESNET_BASES[base], **values}

    def layout(self) -> EncoderLayout:
        """The same values as the encoder takes them."""
        from tessera.core.backbone.layout import EncoderLayout

        with as_config_error("this encoder cannot be built"):
            return EncoderLayout(**self.model_dump(exclude={"kind", "base"}))

    def build(self, spatial_dims: SpatialDims, in_channels: int) -> MapEncoder:
        """The encoder (B, in_channels, *S) -> maps."""
        from tessera.core.backbone.encoders import Encoder

        with as_config_error("this encoder cannot be built"):
            return Encoder(spatial_dims, in_channels=in_channels, layout=self.layout())


class TimmEncoderConfig(Config):
    """An image encoder of timm, with weights from a local file; see `tessera.core.adapters.timm`."""

    kind: Literal["timm"] = "timm"
    name: str = Field(description="model in timm, for instance resnet50.a1_in1k")
    weights: Annotated[Path | None, TrainingOnly()] = Field(
        None, description="local file that was fetched before; null: new weights"
    )
    mean: tuple[float, ...] | None = Field(None, description="subtracted from inputs in [0, 1], per channel")
    std: tuple[float, ...] | None = Field(None, description="inputs are then divided by it, per channel")
    maps: tuple[int, ...] | None = Field(None, description="numbers of the maps; null: all")
    options: dict[str, Any] = Field(default_factory=dict, description="passed to timm.create_model")

    def build(self, spatial_dims: SpatialDims, in_channels: int) -> MapEncoder:
        """The encoder (B, in_channels, H, W) -> maps."""
        if spatial_dims != 2:
            raise ConfigError(f"timm's {self.name} serves images only", found=f"spatial_dims={spatial_dims}")
        from tessera.core.adapters.timm import TimmEncoder

        fields = self.model_dump(exclude={"kind", "name", "options"})
        return TimmEncoder(self.name, in_channels=in_channels, **fields, **self.options)


def _kind_encoder(value: Any) -> Any:
    """Our own encoder where no kind is given."""
    if isinstance(value, Mapping) and "kind" not in value:
        return {"kind": "encoder", **value}
    return value


AnyEncoder = Annotated[
    EncoderConfig | TimmEncoderConfig, Field(discriminator="kind"), BeforeValidator(_kind_encoder)
]


class ClassifierConfig(Config):
    """Encoder and head."""

    kind: Literal["classifier"] = "classifier"
    encoder: AnyEncoder = EncoderConfig()
    head: OneHead = PlugConfig(kind="mean")
    route: OneRoute = Field(_LAST, description="makes the last map that the head sees")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="before the classes")
    weights: Weights = PlugConfig(kind="none")

    def build(self, spatial_dims: SpatialDims, in_channels: int, n_outputs: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs)."""
        from tessera.core.backbone.encoders import Classifier
        from tessera.core.backbone.plugs import with_weights

        encoder = self.encoder.build(spatial_dims, in_channels)
        values = self.model_dump(exclude={"kind", "encoder"})
        weights = values.pop("weights")
        with as_config_error("this classifier cannot be built"):
            return with_weights(Classifier(encoder, n_outputs, **values), weights)

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for inputs of one shape (C, *S), which plugs made for one size of map are told."""
        channels, *size = shape
        encoder = self.encoder
        if isinstance(encoder, EncoderConfig) and encoder.input_size is None:
            encoder = encoder.model_copy(update={"input_size": tuple(size)})
        network = self.model_copy(update={"encoder": encoder})
        return network.build(cast("SpatialDims", len(size)), channels, n_outputs)


class UNetConfig(Config):
    """U-Net over an encoder; see `tessera.core.backbone.unet.UNet`."""

    kind: Literal["unet"] = "unet"
    encoder: AnyEncoder = EncoderConfig()
    widths: tuple[PositiveInt, ...] | None = Field(None, description="decoder channels, coarsest first")
    depth: PositiveInt = Field(1, description="blocks of each decoder stage")
    skip: OneRoute = Field(
        PlugConfig(kind="concat"), description="joins skip and enlarged map; last: no skips"
    )
    up: Literal["interpolate", "nearest", "transposed"] = "interpolate"
    deep_supervision: int = Field(0, ge=0, description="coarser maps that give logits in training")
    weights: Weights = PlugConfig(kind="none")

    def build(self, spatial_dims: SpatialDims, in_channels: int, n_outputs: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs, *S)."""
        from tessera.core.backbone.plugs import with_weights
        from tessera.core.backbone.unet import UNet

        encoder = self.encoder.build(spatial_dims, in_channels)
        values = self.model_dump(exclude={"kind", "encoder"})
        weights = values.pop("weights")
        with as_config_error("this U-Net cannot be built"):
            return with_weights(UNet(encoder, n_outputs, **values), weights)


class PyramidConfig(Config):
    """Feature pyramid over an encoder, the backbone of a detector."""

    kind: Literal["pyramid"] = "pyramid"
    encoder: AnyEncoder = EncoderConfig()
    width: PositiveInt = Field(256, description="channels of every map")
    extra: int = Field(1, ge=0, le=4, description="coarser maps at the end")

    def build(self, spatial_dims: SpatialDims, in_channels: int) -> nn.Module:
        """The backbone (B, in_channels, *S) -> name -> map."""
        from tessera.core.backbone.fpn import PyramidEncoder

        encoder = self.encoder.build(spatial_dims, in_channels)
        return PyramidEncoder(encoder, width=self.width, extra=self.extra)


@contextmanager
def as_config_error(problem: str) -> Iterator[None]:
    """What a builder refuses is a config's fault."""
    try:
        yield
    except ValueError as error:
        raise ConfigError(problem, found=error) from error
