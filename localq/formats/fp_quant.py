"""fp_quant_<mxfp4|nvfp4>_h<h>: FP-Quant, small floats of Hadamard-rotated weights; weight = code * scale / whole.

`qweight` uint8 `[out, in / 2]` of two E2M1, the even input in the low nibble; `scales` uint8, the bytes of E8M0
`[out, in / 32]` (MXFP4) or E4M3 `[out, in / 16]` (NVFP4); `weight_global_scale` `[1]`, by which the weights were
multiplied first (3 or 10, or 1); `forward_hadamard_matrix` `[h, h]`, by which every h inputs are multiplied, and the
weights were: y = ((x M) W^T); decoded is W M^T. Matrices as stored, in bfloat16, are what the layer multiplies by. The
scales of activations and `backward_hadamard_matrix`, for training, are not read. Source: fp_quant/module/linear.py,
linear_fns.py (`forward_gemm`, alpha), 0.3; transformers/integrations/fp_quant.py. Their kernels run on GPUs alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats
from localq.formats.base import Format, Match, Native, PackedTensor, Part, count
from localq.formats.hadamard_orders import sylvester
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4
from localq.formats.nvfp4 import NVFP4
from localq.formats.rotated import turned

_NAME = re.compile(r"fp_quant_(mxfp4|nvfp4)_h(\d{1,3})")
_MATRIX, _BACKWARD, _WHOLE = "forward_hadamard_matrix", "backward_hadamard_matrix", "weight_global_scale"
_FLOATS = "bfloat16|float32|float16"
_SIDES = (16, 32, 64, 128)
_OTHER = "Get the model in another packing (GGUF, MLX, AWQ, GPTQ), or quantise the original."


class FPQuant(
    MicroFloat,
    name="fp_quant",
    checked="a writer made from fp_quant's source",
    family="fp_quant",
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 per 32 or E4M3 per 16 x float per matrix",
    mains=(_MATRIX,),  # a `qweight` alone is other people's
    suffixes=("qweight", "scales", _WHOLE, _MATRIX),
    unused=(_BACKWARD,),
):
    twin = MXFP4
    codes_part = "qweight"
    scales_part = "scales"
    whole_part = _WHOLE
    side: ClassVar[int] = 32  # inputs that one matrix turns

    @classmethod
    def of(cls, code: str, side: int) -> type[FPQuant]:
        """The variant of "mxfp4" or "nvfp4", turned in blocks of `side`."""
        group, twin = (32, MXFP4) if code == "mxfp4" else (16, NVFP4)
        said = f"{'E8M0' if group == 32 else 'E4M3'} per {group} x float per matrix"
        return FPQuant.variant(
            f"fp_quant_{code}_h{side}",
            twin=twin,
            group_size=group,
            side=side,
            block_size=max(32, side),
            bits_per_weight=4 + 8 / group,
            scale=said,
        )

    @classmethod
    def find(cls, name: str) -> type[FPQuant] | None:
        found = _NAME.fullmatch(name)
        return None if found is None else cls.of(found[1], int(found[2]))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("mxfp4", 32), cls.of("nvfp4", 16)

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        if len(shape) != 2 or shape[-1] % cls.block_size:
            raise CheckpointError(
                f"A {cls.name} tensor has rows of {shape[-1:]}; a matrix of rows of whole blocks of {cls.block_size} "
                "was expected."
            )
        own = {_WHOLE: Part(_FLOATS, (1,)), _MATRIX: Part(_FLOATS, (cls.side, cls.side))}
        return {**super().layout(shape), **own}

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        """Hadamard's matrix and the identity are their own transposes; of another the direction is nowhere said."""
        matrix = parts[_MATRIX]
        if not np.array_equal(matrix, matrix.T):
            raise UnsupportedError(
                f"FP-Quant's {_MATRIX} is not symmetric; localq knows 'hadamard' and 'identity'.", _OTHER
            )

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if (
            not quantization
            or quantization.get("quant_method") != "fp_quant"
            or not {"qweight", _MATRIX} <= set(stored)
        ):
            return None
        code, main, matrix = quantization.get("forward_dtype"), stored["qweight"], stored[_MATRIX]
        if code not in ("mxfp4", "nvfp4"):
            raise UnsupportedError(f"FP-Quant's forward_dtype is {code!r}; localq knows 'mxfp4' and 'nvfp4'.", _OTHER)
        if len(matrix.shape) != 2 or len(main.shape) != 2:
            raise CheckpointError(f"qweight is {main.shape} and {_MATRIX} {matrix.shape}; two matrices were expected.")
        said = quantization.get("hadamard_group_size")
        if matrix.shape[0] not in _SIDES or said not in (None, matrix.shape[0]):
            raise CheckpointError(
                f"{_MATRIX} is {matrix.shape}, the config's hadamard_group_size {said!r}; the same was expected, "
                f"one of {_SIDES}."
            )
        return cls.of(code, matrix.shape[0]), (main.shape[0], 2 * main.shape[1])

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return {**super().scales(t), _MATRIX: t.parts[_MATRIX]}

    @classmethod
    def whole(cls, t: PackedTensor, scales: Floats) -> Floats:
        divided: Floats = scales / t.parts[_WHOLE].astype(np.float32).reshape(())
        return divided

    @classmethod
    def multiplier(cls, t: PackedTensor) -> Floats:
        inverse: Floats = np.reciprocal(t.parts[_WHOLE].astype(np.float32).reshape(()))
        return inverse

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        return turned(super().dequantize(t), cls.side, np.ascontiguousarray(t.parts[_MATRIX].T, np.float32))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """MLX's mode of the codes; the inputs are turned first."""
        held = super().to_native(t)
        matrix = np.ascontiguousarray(t.parts[_MATRIX], np.float32)
        return None if held is None else replace(held, input_rotation=matrix)

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        parts = {**t.parts, **{name: t.parts[name][index] for name in ("qweight", "scales")}}
        return PackedTensor(cls, (count(t.shape[0], index), t.shape[1]), parts)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """One under the other where matrix and global scale are the same."""
        first = tensors[0]
        if any(not np.array_equal(t.parts[name], first.parts[name]) for t in tensors for name in (_WHOLE, _MATRIX)):
            return None
        parts = {name: np.concatenate([t.parts[name] for t in tensors]) for name in ("qweight", "scales")}
        return PackedTensor(cls, (sum(t.shape[0] for t in tensors), first.shape[1]), {**first.parts, **parts})

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        layout, mine = cls.layout(shape), cls.twin.quantize(rng.standard_normal(shape).astype(np.float32)).parts
        parts: dict[str, Array] = {
            "qweight": mine["weight"].view(np.uint8).reshape(layout["qweight"].shape),
            "scales": mine["scales"].reshape(layout["scales"].shape),
            _WHOLE: np.full(1, 3, np.float32),
            _MATRIX: np.asarray(sylvester(np.eye(cls.side, dtype=np.float32)) / np.sqrt(cls.side), np.float32),
        }
        return PackedTensor(cls, shape, parts)
