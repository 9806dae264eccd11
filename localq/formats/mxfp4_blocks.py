"""mxfp4_blocks: gpt-oss's MXFP4 experts; weight = 2**(scale - 127) * E2M1, one scale byte per 32 weights.

`blocks` uint8 `[experts, out, in / 32, 16]`, the even input in the low nibble; `scales` uint8
`[experts, out, in / 32]`.
The bytes are those of MLX's mxfp4. The rows of `gate_up_proj` alternate: even ones are gate's, odd ones up's.
Source: openai/gpt-oss gpt_oss/torch/weights.py; transformers/integrations/mxfp4.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.errors import CheckpointError
from localq.formats.base import Match, PackedTensor, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4


class MXFP4Blocks(
    MicroFloat,
    name="mxfp4_blocks",
    checked="mlx-lm",
    family="gpt-oss",
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 (power of two) per 32",
):
    twin = MXFP4
    codes_part = "blocks"
    scales_part = "scales"

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        usual = super().layout(shape)
        return {**usual, "blocks": Part("uint8", (*shape[:-1], shape[-1] // 32, 16))}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """By the arrays alone: their names and shapes are nobody else's."""
        if "blocks" not in stored:
            return None
        if set(stored) != {"blocks", "scales"} or {p.dtype for p in stored.values()} != {"uint8"}:
            found = ", ".join(f"{name} {part.dtype}" for name, part in sorted(stored.items()))
            raise CheckpointError(f"Experts are stored as {found}; expected blocks and scales, both uint8.")
        blocks, scales = stored["blocks"].shape, stored["scales"].shape
        if len(blocks) < 3 or blocks[-1] != 16 or scales != blocks[:-1]:
            raise CheckpointError(f"blocks are {blocks} and scales {scales}; expected 16 bytes a block and one scale.")
        return cls, (*blocks[:-2], 32 * blocks[-2])

    @classmethod
    def select_matrix(cls, t: PackedTensor, index: int) -> PackedTensor:
        return PackedTensor(cls, t.shape[1:], {name: part[index] for name, part in t.parts.items()})
