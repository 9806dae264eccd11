"""torchao_mx_<code> and torchao_nvfp4: torchao's small floats in safetensors; weight = code * scale (* whole).

    MXTensor     `_weight_qdata` E4M3 `[..., out, in]`, or uint8 `[..., out, in / 2]` of two E2M1, the even input in the
                 low nibble; `_weight_scale` E8M0, one per 32
    NVFP4Tensor  `_weight_qdata` uint8 of two E2M1; `_weight_scale` E4M3, one per 16; where there is one,
                 `_weight_per_tensor_scale` float32 (), which multiplies the others

The file's header says which (see torchao_bytes.py), and whether the scales of a matrix are swizzled: then they are
padded with zeros to 128 x 4 blocks, and block by block, row by row of blocks, scale [r, c] lies at [r % 32, r / 32, c].
The codes are those of MLX's mxfp4, mxfp8 and nvfp4, byte for byte.
Source: torchao/prototype/mx_formats (mx_tensor.py, nvfp4_tensor.py, utils.py `from_blocked`), 0.18.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, Floats
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.micro_floats import MicroFloat
from localq.formats.mxfp4 import MXFP4
from localq.formats.mxfp8 import MXFP8
from localq.formats.nvfp4 import NVFP4
from localq.formats.torchao_bytes import read_header

_WHOLE, _ACTIVATIONS = "_weight_per_tensor_scale", "_weight_act_per_tensor_scale"
_CODES = {"float4_e2m1fn_x2": "mxfp4", "float8_e4m3fn": "mxfp8"}


class _TorchAOFloat(MicroFloat):
    """Both kinds."""

    codes_part = "_weight_qdata"
    scales_part = "_weight_scale"
    swizzled: ClassVar[bool] = False

    @classmethod
    def unswizzled(cls) -> type[_TorchAOFloat]:
        """The variant whose scales lie in rows."""
        raise TypeError(f"{cls.__name__} defines no unswizzled")

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        usual = super().layout(shape)
        if not cls.swizzled:
            return usual
        rows, columns = (-(-n // side) for n, side in zip(usual[cls.scales_part].shape, (128, 4), strict=True))
        return {**usual, cls.scales_part: Part(cls.scales_dtype, (32 * rows, 16 * columns))}

    @classmethod
    def found(cls, said: Mapping[str, Any], stored: Mapping[str, Part], plain: type[_TorchAOFloat]) -> Match:
        """The variant and shape: `plain`, or its twin with swizzled scales.

        Raises:
            CheckpointError: other arrays, shapes or blocks than the header's type has.
            UnsupportedError: a stack with swizzled scales.
        """
        if said.get("block_size") != plain.group_size:
            raise CheckpointError(
                f"The header says block_size {said.get('block_size')!r}; {plain.group_size} was expected."
            )
        parts = {name: part for name, part in stored.items() if name != _ACTIVATIONS}
        codes = parts[cls.codes_part]
        if said.get("is_swizzled_scales") is True:
            if len(codes.shape) != 2:
                raise UnsupportedError(
                    f"torchao's scales of a stack {codes.shape} are swizzled; localq knows matrices."
                )
            return plain.twisted(), (codes.shape[0], codes.shape[1] * 8 // int(plain.bits))
        shape = plain.shape_of(parts)
        if shape is None:
            have = ", ".join(f"{name} {part.dtype} {part.shape}" for name, part in sorted(parts.items()))
            raise CheckpointError(f"A tensor that the header calls {said['_type']} is stored as {have}.")
        return plain, shape

    @classmethod
    def twisted(cls) -> type[_TorchAOFloat]:
        """The variant whose scales are swizzled."""
        raise TypeError(f"{cls.__name__} defines no twisted")

    @classmethod
    def straight(cls, t: PackedTensor) -> PackedTensor:
        """The same tensor with its scales in rows."""
        if not cls.swizzled:
            return t
        out, groups = t.shape[0], t.shape[1] // cls.group_size
        rows, columns = -(-out // 128), -(-groups // 4)
        stored = np.ascontiguousarray(t.parts[cls.scales_part])
        blocks = stored.view(np.uint8).reshape(rows, columns, 32, 4, 4).transpose(0, 3, 2, 1, 4)
        scales = np.ascontiguousarray(blocks.reshape(rows * 128, columns * 4)[:out, :groups]).view(stored.dtype)
        return PackedTensor(cls.unswizzled(), t.shape, {**t.parts, cls.scales_part: scales})

    @classmethod
    def as_mlx(cls, t: PackedTensor) -> PackedTensor:
        return super().as_mlx(cls.straight(t))

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        return cls.straight(t).rows(index) if cls.swizzled else super().select_rows(t, index)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        if not cls.swizzled:
            return super().join_rows(tensors)
        return cls.unswizzled().join_rows([cls.straight(t) for t in tensors])

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        assert not cls.swizzled
        return super().sample(shape, rng)


_FACTS: dict[str, Any] = {"family": "torchao", "checked": "torchao"}


class TorchAOMX(
    _TorchAOFloat,
    name="torchao_mx",
    **_FACTS,
    bits=4,
    group_size=32,
    bits_per_weight=4.25,
    scale="E8M0 (power of two) per 32",
):
    twin = MXFP4
    scales_dtype = "float8_e8m0fnu|uint8"

    @classmethod
    def of(cls, code: str, swizzled: bool = False) -> type[TorchAOMX]:
        """The variant of "mxfp4" or "mxfp8"."""
        bits = int(code[-1])
        return TorchAOMX.variant(
            f"torchao_mx_{code}" + "_swizzled" * swizzled,
            bits=bits,
            bits_per_weight=bits + 0.25,
            twin=MXFP4 if bits == 4 else MXFP8,
            codes_dtype="uint8" if bits == 4 else "float8_e4m3fn",
            swizzled=swizzled,
        )

    @classmethod
    def find(cls, name: str) -> type[TorchAOMX] | None:
        made = (cls.of(code, swizzled) for code in ("mxfp4", "mxfp8") for swizzled in (False, True))
        return next((form for form in made if form.name == name), None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of("mxfp4"), cls.of("mxfp8")

    @classmethod
    def unswizzled(cls) -> type[_TorchAOFloat]:
        return cls.of(cls.twin.name)

    @classmethod
    def twisted(cls) -> type[_TorchAOFloat]:
        return cls.of(cls.twin.name, True)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "_weight_qdata" not in stored:
            return None
        said = read_header((quantization or {}).get("torchao_tensor"), stored)
        if said["_type"] != "MXTensor":
            return None
        element = said.get("elem_dtype")
        code = str(element.get("_data")) if isinstance(element, Mapping) else str(element)
        if code not in _CODES:
            raise UnsupportedError(f"torchao's MXTensor is of {code[:40]}; localq decodes {', '.join(_CODES)}.")
        return cls.found(said, stored, cls.of(_CODES[code]))


class TorchAONVFP4(
    _TorchAOFloat,
    name="torchao_nvfp4",
    **_FACTS,
    bits=4,
    group_size=16,
    bits_per_weight=4.5,
    scale="E4M3 per 16 x float32 per matrix",
    suffixes=("_weight_qdata", "_weight_scale", _WHOLE),
    unused=(_ACTIVATIONS,),
):
    twin = NVFP4
    scales_dtype = "float8_e4m3fn"
    whole_part = _WHOLE
    whole_shape = ()

    @classmethod
    def of(cls, whole: bool = True, swizzled: bool = False) -> type[TorchAONVFP4]:
        """The variant with or without a scale of the whole tensor."""
        name = "torchao_nvfp4" + ("_whole" if whole else "_blocks") + "_swizzled" * swizzled
        part = _WHOLE if whole else ""
        return TorchAONVFP4.variant(
            name, whole_part=part, swizzled=swizzled, scale="E4M3 per 16" + " x float32 per matrix" * whole
        )

    @classmethod
    def find(cls, name: str) -> type[TorchAONVFP4] | None:
        made = (cls.of(whole, swizzled) for whole in (True, False) for swizzled in (False, True))
        return next((form for form in made if form.name == name), None)

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return (cls.of(),)

    @classmethod
    def unswizzled(cls) -> type[_TorchAOFloat]:
        return cls.of(bool(cls.whole_part))

    @classmethod
    def twisted(cls) -> type[_TorchAOFloat]:
        return cls.of(bool(cls.whole_part), True)

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        if "_weight_qdata" not in stored:
            return None
        said = read_header((quantization or {}).get("torchao_tensor"), stored)
        return cls.found(said, stored, cls.of(_WHOLE in stored)) if said["_type"] == "NVFP4Tensor" else None

    @classmethod
    def whole(cls, t: PackedTensor, scales: Floats) -> Floats:
        multiplied: Floats = t.parts[_WHOLE] * scales
        return multiplied

    @classmethod
    def multiplier(cls, t: PackedTensor) -> Floats | None:
        return np.asarray(t.parts[_WHOLE], np.float32) if cls.whole_part else None
