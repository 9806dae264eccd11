"""rotated: the weights of another format between rotations that a file leaves to be done at run time.

QuaRot, SpinQuant and QuIP (llm-compressor's modifiers) store R_out^T W R_in^-T, and a forward pass turns the
activations: `y = ((x R_in) W^T + b) R_out`. Rotations are block-diagonal, one matrix `[h, h]` for every h inputs or
outputs; parts `input_rotation` and `output_rotation` hold it, float32, as it multiplies a row of activations from the
right (signs, permutation, inverse and 1 / sqrt(h) already done); where the part is missing it is Sylvester's Hadamard
matrix / sqrt(h). The parts of the format inside stand beside them. Decoded is what the layer computes in effect:

    W_effective = R_out^T W R_in^T          b_effective = b R_out          (a bias is a tensor of one axis)

Which module is turned is said by the config, see localq/checkpoints/rotations.py; no array alone says it, so nothing is
matched here. Source: compressed_tensors/transform/factory and transform/utils/matrix.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError
from localq.formats.arrays import Array, Floats
from localq.formats.base import Format, Native, PackedTensor, Part
from localq.formats.hadamard_orders import sylvester
from localq.formats.reselect import floats, numbers, run_of

IN, OUT = "input_rotation", "output_rotation"
_NAME = re.compile(r"(.+)_rotated(?:_in(\d+)(own)?)?(?:_out(\d+)(own)?)?")
_BATCH = 64  # vectors come to the BLAS in whole batches, so that few of them are added up in the same order as many


class Rotated(
    Format,
    name="rotated",
    checked="compressed-tensors",
    family="rotated",
    bits=4,
    group_size=128,
    bits_per_weight=4.125,
    scale="as the format inside",
    containers=("safetensors",),
    suffixes=(IN, OUT),
):
    inner: ClassVar[type[Format]] = Format
    inputs: ClassVar[int] = 0  # sides of the blocks that are turned; 0: none are
    outputs: ClassVar[int] = 0
    stored: ClassVar[tuple[str, ...]] = ()  # which rotations are parts

    @classmethod
    def of(cls, inner: type[Format], inputs: int, outputs: int, stored: tuple[str, ...] = ()) -> type[Rotated]:
        """Weights of the format `inner`, their inputs turned in blocks of `inputs`, their outputs of `outputs`."""
        name = f"{inner.name}_rotated"
        for word, size, part in (("in", inputs, IN), ("out", outputs, OUT)):
            name += f"_{word}{size}{'own' * (part in stored)}" if size else ""
        facts = (
            "bits",
            "group_size",
            "bits_per_weight",
            "symmetric",
            "scale",
            "same_size",
            "zero_scales",
            "scale_parts",
        )
        return Rotated.variant(
            name,
            **{fact: getattr(inner, fact) for fact in facts},
            inner=inner,
            inputs=inputs,
            outputs=outputs,
            stored=stored,
            block_size=math.lcm(inner.block_size, inputs or 1),
            row_multiple=math.lcm(inner.row_multiple, outputs or 1),
            mixed_rows=inner.mixed_rows,
            kernel=inner.kernel,
            share=inner.share,
        )

    @classmethod
    def find(cls, name: str) -> type[Rotated] | None:
        found = _NAME.fullmatch(name)
        if found is None:
            return None
        from localq.formats import find

        inner, sizes = find(found[1]), (int(found[2] or 0), int(found[4] or 0))
        stored = tuple(part for part, own in ((IN, found[3]), (OUT, found[5])) if own)
        return cls.of(inner, *sizes, stored) if inner is not None and any(sizes) else None

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        from localq.formats import find

        inner = find("ct_int4_g128")
        assert inner is not None
        return cls.of(inner, 128, 0), cls.of(inner, 32, 32, (IN, OUT))

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        """Raises: CheckpointError, also where a side is no multiple of its rotation's."""
        wide = shape[-1:] if len(shape) > 1 else ()
        tall = shape[-2:-1] if len(shape) > 1 else shape
        for word, size, side in (("inputs", cls.inputs, wide), ("outputs", cls.outputs, tall)):
            if size and (not side or side[0] % size):
                raise CheckpointError(
                    f"{side or shape[-1:]} {word} are turned in blocks of {size} ({cls.name}, its block is "
                    f"{cls.block_size}); a multiple was expected."
                )
        return cls.inner.layout(shape) | {
            part: Part("float32", (size, size))
            for part, size in ((IN, cls.inputs), (OUT, cls.outputs))
            if part in cls.stored
        }

    @classmethod
    def options(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return cls.inner.options(shape)

    @classmethod
    def wrap(cls, t: PackedTensor, like: PackedTensor) -> PackedTensor:
        """`t`, of any format, with the rotations of `like`."""
        form = Rotated.of(t.format, cls.inputs, cls.outputs, cls.stored)
        return PackedTensor(form, t.shape, {**t.parts, **{part: like.parts[part] for part in cls.stored}})

    @classmethod
    def inside(cls, t: PackedTensor) -> PackedTensor:
        """The tensor as stored, not turned."""
        return PackedTensor(cls.inner, t.shape, {n: p for n, p in t.parts.items() if n not in cls.stored})

    @classmethod
    def scales(cls, t: PackedTensor) -> dict[str, Array]:
        return cls.inner.scales(cls.inside(t))

    @classmethod
    def select_rows(cls, t: PackedTensor, index: slice | Array) -> PackedTensor:
        """Packed, where whole blocks of turned outputs are taken; else decoded."""
        run, inside = run_of(index, t.shape[-2]), cls.inside(t)
        if not cls.outputs:
            return cls.wrap(inside.rows(index), t)
        if run is not None and run.start % cls.outputs == 0 == run.stop % cls.outputs:
            return cls.wrap(inside.rows(run), t)
        at = numbers(index, t.shape[-2])
        blocks, place = np.unique(at // cls.outputs, return_inverse=True)
        rows = (blocks[:, None] * cls.outputs + np.arange(cls.outputs)).reshape(-1)
        weights = cls.wrap(inside.rows(rows), t).dequantize()
        return floats(weights[..., place.reshape(-1) * cls.outputs + at % cls.outputs, :])

    @classmethod
    def select_matrix(cls, t: PackedTensor, index: int) -> PackedTensor:
        return cls.wrap(cls.inside(t).matrix(index), t)

    @classmethod
    def join_rows(cls, tensors: Sequence[PackedTensor]) -> PackedTensor | None:
        """Of matrices with the same rotations."""
        first = tensors[0]
        if any(not np.array_equal(t.parts[part], first.parts[part]) for t in tensors for part in cls.stored):
            return None
        joined = cls.inner.join_rows([cls.inside(t) for t in tensors])
        return None if joined is None else cls.wrap(joined, first)

    @classmethod
    def dequantize(cls, t: PackedTensor) -> Floats:
        weights = cls.inside(t).dequantize()
        if cls.outputs and len(t.shape) == 1:
            return turned(weights, cls.outputs, t.parts.get(OUT))
        if cls.inputs:
            matrix = t.parts.get(IN)
            weights = turned(weights, cls.inputs, None if matrix is None else matrix.T)
        if cls.outputs:
            columns = np.ascontiguousarray(weights.swapaxes(-1, -2))
            weights = np.ascontiguousarray(turned(columns, cls.outputs, t.parts.get(OUT)).swapaxes(-1, -2))
        return weights

    @classmethod
    def has_native(cls, t: PackedTensor) -> bool:
        return cls.inner.has_native(cls.inside(t))

    @classmethod
    def to_native(cls, t: PackedTensor) -> Native | None:
        """As the format inside; activations are turned around the product."""
        held = cls.inner.to_native(cls.inside(t))
        if held is None:
            return None
        rotations = ((cls.inputs, t.parts.get(IN)), (cls.outputs, t.parts.get(OUT)))
        around: list[Any] = [(matrix if matrix is not None else size) if size else None for size, matrix in rotations]
        return Native(**{**vars(held), "input_rotation": around[0], "output_rotation": around[1]})

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        parts = dict(cls.inner.sample(shape, rng).parts)
        for part, size in ((IN, cls.inputs), (OUT, cls.outputs)):
            if part in cls.stored:
                parts[part] = np.linalg.qr(rng.standard_normal((size, size)))[0].astype(np.float32)
        return PackedTensor(cls, shape, parts)


def turned(rows: Floats, size: int, matrix: Floats | None) -> Floats:
    """Every `size` values of the last axis times `matrix` (Sylvester's, of length 1, where it is None)."""
    if matrix is None:
        blocks = sylvester(rows.reshape(-1, size))
        return np.asarray(blocks * np.float32(1 / math.sqrt(size)), np.float32).reshape(rows.shape)
    vectors = rows.reshape(-1, size).astype(np.float64)  # a random matrix is nearly singular, its products cancel
    count = len(vectors)
    if count % _BATCH:
        vectors = np.concatenate([vectors, np.zeros((-count % _BATCH, size))])
    return np.asarray((vectors @ matrix)[:count].reshape(rows.shape), np.float32)
