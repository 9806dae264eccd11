"""gemma_int2, gemma_int4, gemma_int8: Google's quantisation-aware Gemma checkpoints for phones; weight = code * scale.

A linear layer has `weight`: int8 codes `[out, in]`, or uint8 with the codes of 2 or 4 bits packed along a row, the
first in the lowest bits, 2 or 8 above the signed value; and `weight_scale` float32 `[out, 1]`. An embedding has the
same as `embedding_quantized` and `embedding_scale` `[rows, blocks]`, each row cut into blocks of equal length. The
width of codes in uint8 is the config's word (`localq/checkpoints/methods/gemma.py`). The original also rounds what goes
in and out of a layer to int8 (`input_activation_scale`, `output_activation_scale`); localq computes with float
activations, so its logits are those of the same weights without that rounding. Source:
transformers/integrations/gemma_quant.py (`QuantizedLinear`, `QuantizedEmbedding`), 5.23.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Floats, NDArray
from localq.formats.base import Format, Match, Native, PackedTensor, Part
from localq.formats.bits import pack
from localq.formats.integers import affine, affine_group

_NAME = re.compile(r"gemma_int([248])(?:_table([1-9]\d*))?")
LINEAR, TABLE = ("weight", "weight_scale"), ("embedding_quantized", "embedding_scale")


class GemmaQAT(
    Format,
    name="gemma_qat",
    checked="transformers",
    family="gemma",
    bits=4,
    group_size=0,
    bits_per_weight=4 + 32 / 4096,
    symmetric=True,
    scale="float32 per row",
    containers=("safetensors",),
    mains=(LINEAR[0], TABLE[0]),
    suffixes=(*LINEAR, *TABLE),
    unused=("input_activation_scale", "output_activation_scale"),
    scale_parts=(LINEAR[1], TABLE[1]),
    zero_scales=True,
    same_size=True,
):
    blocks: ClassVar[int] = 0  # scales of an embedding's row; 0: a linear layer

    @classmethod
    def of(cls, bits: int, blocks: int) -> type[GemmaQAT]:
        """The variant of this width, of a linear layer or of an embedding with so many scales a row."""
        made = GemmaQAT.variant(f"gemma_int{bits}" + (f"_table{blocks}" if blocks else ""), bits=bits)
        made.blocks, made.bits_per_weight = blocks, bits + 32 * max(blocks, 1) / 4096
        return made

    @classmethod
    def find(cls, name: str) -> type[GemmaQAT] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(int(found[1]), int(found[2] or 0))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of(4, 0), cls.of(2, 0), cls.of(8, 0), cls.of(2, 1), cls.of(4, 4)

    @classmethod
    def names(cls) -> tuple[str, str]:
        """Of the codes' array and of the scales'."""
        return TABLE if cls.blocks else LINEAR

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        bits, each = int(cls.bits), max(cls.blocks, 1)
        if len(shape) != 2 or shape[1] * bits % 8 or shape[1] % each or 0 in shape:
            raise CheckpointError(f"{cls.name} packs matrices of whole bytes and {each} blocks a row; this is {shape}.")
        codes, scale = cls.names()
        return {
            codes: Part("int8" if bits == 8 else "uint8", (shape[0], shape[1] * bits // 8)),
            scale: Part("float32", (shape[0], each)),
        }

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """Codes and scales under these names; `num_bits` of the settings says how codes lie in uint8."""
        table = TABLE[0] in stored
        codes, scale = TABLE if table else LINEAR
        if not quantization or quantization.get("quant_method") != "gemma" or scale not in stored:
            return None
        kind, shape = stored[codes].dtype, stored[codes].shape
        scales = stored[scale].shape
        if kind not in ("int8", "uint8") or len(shape) != 2 or len(scales) != 2 or not scales[1]:
            raise CheckpointError(
                f"{codes} is {kind} {shape} and {scale} {scales}; expected bytes [out, ...] and scales [out, blocks]."
            )
        bits = quantization.get("num_bits")
        if (bits == 8) != (kind == "int8") or bits not in (2, 4, 8):
            raise CheckpointError(
                f"The config says num_bits {bits!r} where {codes} is {kind}; expected 2, 4, or 8 for int8."
            )
        return cls.of(bits, scales[1] if table else 0), (shape[0], shape[1] * 8 // bits)

    @classmethod
    def codes(cls, t: PackedTensor) -> NDArray[np.uint8]:
        """Codes `[out, in]` without their sign: 2 ** (bits - 1) above the value."""
        stored, bits = t.parts[cls.names()[0]], int(cls.bits)
        if bits == 8:
            return stored.view(np.uint8) ^ np.uint8(0x80)
        shifts = np.arange(0, 8, bits, dtype=np.uint8)
        found: NDArray[np.uint8] = (stored[:, :, None] >> shifts) & np.uint8((1 << bits) - 1)
        return found.reshape(t.shape)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        out = cls.codes(t).astype(np.float32)
        out -= 1 << (int(cls.bits) - 1)
        scale = t.parts[cls.names()[1]]
        blocks = out.reshape(len(out), scale.shape[1], -1)
        blocks *= scale[:, :, None]
        return out

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return bool(affine_group(t.shape[1] // max(cls.blocks, 1), t.shape[1]))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """Affine: with unit scales, and the row's multiplies the output; blocks of a row keep scales of their own."""
        bits, width = int(cls.bits), t.shape[1]
        half, scale = 1 << (bits - 1), t.parts[cls.names()[1]]
        words = pack(cls.codes(t), bits)
        if scale.shape[1] > 1:
            return affine(words, bits, width // scale.shape[1], scale, np.full(scale.shape, half, np.float32))
        group = affine_group(width, width)
        if not group:
            return None
        ones = np.ones((t.shape[0], width // group), np.float16)
        return Native("affine", bits, group, words, ones, -half * ones, multiplier=np.ascontiguousarray(scale[:, 0]))

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout, (codes, scale) = cls.layout(shape), cls.names()
        drawn = rng.integers(0, 256, layout[codes].shape, np.uint8)
        parts = {
            codes: drawn.view(np.int8) if cls.bits == 8 else drawn,
            scale: rng.uniform(0.5, 1.5, layout[scale].shape).astype(np.float32) / (1 << int(cls.bits)),
        }
        return PackedTensor(cls, shape, parts)
