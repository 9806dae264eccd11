"""vptq: vectors down the output rows, from a main and a residual table, of permuted and scaled columns.

`indices` int32 `[tables, ceil(out / v), words]`: per row of vectors a little-endian bitstream, one entry a column,
its low bits the index into `centroids.weight` `[tables, n * v]`, the next ones into `res_centroids.weight` where
there is one. A vector is v weights of one column, `tables` runs of `group_size` columns side by side. Columns of
outliers come first, `outlier_indices` int16 (meaning uint16) `[1, ceil(out / vo), outliers]` into
`outlier_centroids.weight` `[1, no * vo]`. Then `perm` int16 (uint16) `[in]`: stored column j is input perm[j]; and
`weight_scale`, `weight_bias` `[in]`: w * scale + bias. Lengths are in the config's `config_for_layers`, per module.
Indices that are floats or not packed are refused by name. Source: vptq/ops/quant_gemm.py (`dequant`), utils/pack.py,
layers/vqlinear.py, 0.0.5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from localq.errors import CheckpointError, UnsupportedError
from localq.formats.arrays import Array, NDArray
from localq.formats.base import Format, Match, PackedTensor, Part
from localq.formats.reselect import RowDecoder

_FLOATS = "float16|bfloat16|float32"


class VPTQ(
    RowDecoder,
    name="vptq",
    checked="vptq",
    kernel="vptq",
    family="vptq",
    bits=2,
    group_size=8,
    bits_per_weight=2,
    scale="fp16 per input",
    containers=("safetensors",),
    mains=("indices",),
    suffixes=(
        *("indices", "centroids.weight", "res_centroids.weight", "outlier_indices", "outlier_centroids.weight"),
        *("perm", "weight_scale", "weight_bias"),
    ),
    scale_parts=("centroids.weight", "res_centroids.weight", "outlier_centroids.weight", "weight_scale", "weight_bias"),
    zero_scales=True,
):
    main: ClassVar[tuple[int, int]] = (8, 256)  # length of a vector and number of centroids
    residual: ClassVar[int] = 0  # number of residual centroids
    outliers: ClassVar[tuple[int, int, int]] = (0, 0, 0)  # columns, length of a vector, number of centroids
    tables: ClassVar[int] = 1
    ordered: ClassVar[bool] = False
    normed: ClassVar[bool] = False

    @classmethod
    def of(
        cls, main: tuple[int, int], residual: int, outliers: tuple[int, int, int], tables: int, flags: tuple[bool, bool]
    ) -> type[VPTQ]:
        """The variant of these lengths; `flags`: permuted, scaled."""
        bits = _log(main[1]) + _log(residual)
        name = f"vptq_v{main[0]}k{main[1]}r{residual}_t{tables}_o{'x'.join(map(str, outliers))}"
        per = bits / main[0]
        table = tables * (main[1] + residual) * main[0] * 16 + outliers[2] * outliers[1] * 16
        return VPTQ.variant(
            f"{name}{'_perm' * flags[0]}{'_norm' * flags[1]}",
            main=main,
            residual=residual,
            outliers=outliers,
            tables=tables,
            ordered=flags[0],
            normed=flags[1],
            bits=per,
            group_size=main[0],
            row_multiple=main[0],
            bits_per_weight=per + (table + 4096 * (16 * flags[0] + 32 * flags[1])) / (1 << 24),
        )

    @classmethod
    def find(cls, name: str) -> type[VPTQ] | None:
        import re

        number = r"(\d{1,6})"
        found = re.fullmatch(
            rf"vptq_v{number}k{number}r{number}_t{number}_o{number}x{number}x{number}(_perm)?(_norm)?", name
        )
        if found is None:
            return None
        v, k, r, tables, *outliers = (int(n) for n in found.groups()[:7])
        if not v or not _power(k) or not tables:
            return None
        return cls.of((v, k), r, (outliers[0], outliers[1], outliers[2]), tables, (bool(found[8]), bool(found[9])))

    @classmethod
    def examples(cls) -> tuple[type[Format], ...]:
        return cls.of((8, 256), 16, (0, 0, 0), 1, (True, True)), cls.of((4, 64), 0, (0, 0, 0), 1, (False, False))

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        columns = shape[-1] - cls.outliers[0] if shape else 0
        if len(shape) != 2 or columns < 1 or columns % cls.tables:
            raise CheckpointError(
                f"A matrix of shape {shape} has no columns for {cls.tables} tables, as {cls.name} needs."
            )
        (v, k), (extra, vo, ko) = cls.main, cls.outliers
        words = -(-(columns // cls.tables) * (_log(k) + _log(cls.residual)) // 32)
        parts = {
            "indices": Part("int32", (cls.tables, -(-shape[0] // v), words)),
            "centroids.weight": Part(_FLOATS, (cls.tables, k * v)),
        }
        if cls.residual:
            parts["res_centroids.weight"] = Part(_FLOATS, (cls.tables, cls.residual * v))
        if extra:
            parts["outlier_indices"] = Part("int16", (1, -(-shape[0] // vo), extra))
            parts["outlier_centroids.weight"] = Part(_FLOATS, (1, ko * vo))
        if cls.ordered:
            parts["perm"] = Part("int16", (shape[1],))
        if cls.normed:
            parts |= {name: Part(_FLOATS, (shape[1],)) for name in ("weight_scale", "weight_bias")}
        return parts

    @classmethod
    def check(cls, parts: Mapping[str, Array]) -> None:
        order = parts.get("perm")
        if order is not None and not np.array_equal(np.sort(order.view(np.uint16)), np.arange(len(order))):
            raise CheckpointError(f"perm of a {cls.name} tensor is no order of its {len(order)} inputs.")
        found = parts.get("outlier_indices")
        if found is not None and found.size and int(found.view(np.uint16).max()) >= cls.outliers[2]:
            raise CheckpointError(
                f"outlier_indices of a {cls.name} tensor go up to {found.view(np.uint16).max()}; there are "
                f"{cls.outliers[2]} centroids."
            )

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """The module's entry of `config_for_layers`, see methods/vptq.py."""
        if not {"indices", "centroids.weight"} <= set(stored):
            return None
        if not quantization or quantization.get("quant_method") != "vptq":
            raise CheckpointError("indices and centroids are VPTQ's, whose settings the config does not have.")
        own = dict(quantization)
        if own.get("is_indice_packed") is False or own.get("indices_as_float"):
            raise UnsupportedError("VPTQ's indices of this module are not packed into int32, as localq reads them.")
        (vo, v), (ko, k) = _pair(own, "vector_lens"), _pair(own, "num_centroids")
        (_, residual), extra = _pair(own, "num_res_centroids"), own.get("outlier_size", 0)
        numbers = [own.get(key) for key in ("out_features", "in_features", "group_num", "group_size")] + [extra]
        if any(type(n) is not int or not 0 <= n < 1 << 24 for n in numbers) or not v > 0 or not _power(k):
            raise CheckpointError(
                f"The config's lengths of this module are {numbers}, {v} and {k}; positive integers fit."
            )
        out, width, tables, group = (int(n) for n in numbers[:4] if n is not None)
        shape = (out, width)
        if vo <= 1 or ko <= 0:
            vo, ko, extra = 0, 0, 0
        residual = max(residual, 0)
        if (residual and not _power(residual)) or tables * group + extra != shape[1] or residual > k:
            raise CheckpointError(
                f"The config gives {tables} tables of {group} columns and {extra} of outliers, residuals {residual}; "
                f"the matrix is {shape} and has {k} centroids."
            )
        form = cls.of((v, k), residual, (extra, vo, ko), tables, ("perm" in stored, "weight_scale" in stored))
        for flag, name in (("enable_perm", "perm"), ("enable_norm", "weight_scale")):
            if own.get(flag) is not None and bool(own[flag]) != (name in stored):
                raise CheckpointError(
                    f"The config says {flag} {own[flag]}, but '{name}' is{' not' * (name not in stored)} stored."
                )
        return form, shape

    @classmethod
    def decode_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.float32]:
        v, k = cls.main
        columns = (t.shape[1] - cls.outliers[0]) // cls.tables
        low, high = _log(k), _log(cls.residual)
        rows, place = np.unique(at // v, return_inverse=True)
        runs = []
        for i in range(cls.tables):
            entry = _entries(t.parts["indices"][i][rows], low + high, columns)
            vectors = t.parts["centroids.weight"][i].astype(np.float32).reshape(k, v)[entry & (k - 1)]
            if cls.residual:
                table = t.parts["res_centroids.weight"][i].astype(np.float32).reshape(cls.residual, v)
                vectors = vectors + table[entry >> low]
            runs.append(vectors[place, :, at % v])
        out = np.concatenate([cls._outlier_rows(t, at), *runs], axis=1)
        if cls.ordered:
            order = t.parts["perm"].view(np.uint16)
            back = np.empty_like(out)
            back[:, order] = out
            out = back
        if cls.normed:
            out = out * t.parts["weight_scale"].astype(np.float32) + t.parts["weight_bias"].astype(np.float32)
        return out

    @classmethod
    def _outlier_rows(cls, t: PackedTensor, at: NDArray[np.int64]) -> NDArray[np.float32]:
        extra, vo, ko = cls.outliers
        if not extra:
            return np.empty((len(at), 0), np.float32)
        index = t.parts["outlier_indices"][0].view(np.uint16)[at // vo].astype(np.int64)
        found: NDArray[np.float32] = (
            t.parts["outlier_centroids.weight"][0].astype(np.float32).reshape(ko, vo)[index, (at % vo)[:, None]]
        )
        return found

    @classmethod
    def sample(cls, shape: tuple[int, ...], rng: np.random.Generator) -> PackedTensor:
        parts: dict[str, Array] = {}
        for name, part in cls.layout(shape).items():
            if part.dtype == "int32":
                parts[name] = rng.integers(-(1 << 31), 1 << 31, part.shape, np.int64).astype(np.int32)
            elif name == "outlier_indices":
                parts[name] = rng.integers(0, cls.outliers[2], part.shape).astype(np.uint16).view(np.int16)
            elif part.dtype == "int16":
                parts[name] = rng.permutation(part.shape[0]).astype(np.uint16).view(np.int16)
            else:
                parts[name] = rng.uniform(0.5, 1.5, part.shape).astype(np.float16)
        return PackedTensor(cls, shape, parts)


def _log(number: int) -> int:
    return number.bit_length() - 1 if number > 0 else 0


def _power(number: int) -> bool:
    return 1 < number <= 1 << 16 and number & (number - 1) == 0


def _pair(own: Mapping[str, Any], key: str) -> tuple[int, int]:
    found = own.get(key)
    if not isinstance(found, list) or len(found) != 2 or any(type(n) is not int or n > 1 << 16 for n in found):
        raise CheckpointError(f"The config's {key} of this module is {str(found)[:40]}; two integers were expected.")
    return found[0], found[1]


def _entries(words: NDArray[np.int32], bits: int, count: int) -> NDArray[np.int64]:
    """`count` numbers of `bits` (up to 32) from every row of little-endian words."""
    wide = np.ascontiguousarray(words).view(np.uint32).astype(np.uint64)
    wide = np.concatenate([wide, np.zeros((len(wide), 1), np.uint64)], axis=1)
    at = np.arange(count) * bits
    pair = wide[:, at // 32] | wide[:, at // 32 + 1] << np.uint64(32)
    return (pair >> (at % 32).astype(np.uint64) & np.uint64((1 << bits) - 1)).astype(np.int64)
