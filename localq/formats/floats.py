"""What the unpacked formats share: one part `weight` of a float dtype, in the logical shape. No format of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import ml_dtypes
import numpy as np

from localq.formats.arrays import NDArray
from localq.formats.base import Format, Match, PackedTensor, Part


class FloatFormat(Format):
    """One part `weight`, `dtype` float32, float16 or bfloat16, of the tensor's own shape."""

    dtype: ClassVar[str] = ""

    def __init_subclass__(cls, *, dtype: str, **facts: Any) -> None:
        cls.dtype = dtype
        super().__init_subclass__(
            **{
                "family": "float",
                "scale": "none",
                "checked": "numpy, ml_dtypes",
                "containers": ("gguf", "safetensors", "mlx"),
                **facts,
            }
        )

    @classmethod
    def layout(cls, shape: tuple[int, ...]) -> dict[str, Part]:
        return {"weight": Part(cls.dtype, shape)}

    @classmethod
    def match(cls, quantization: Mapping[str, Any] | None, stored: Mapping[str, Part]) -> Match | None:
        """One stored array of this dtype is a float tensor whatever the config says: mlx-lm packs what has scales."""
        part = next(iter(stored.values()))
        own = quantization or {}
        online = own.get("quant_method") == "bitnet" and own.get("online") is True  # bitnet_online's
        if len(stored) != 1 or (online and len(part.shape) == 2):
            return None
        return (cls, part.shape) if part.dtype == cls.dtype else None

    @classmethod
    def dequantize(cls, t: PackedTensor) -> NDArray[np.float32]:
        return t.parts["weight"].astype(np.float32)

    @classmethod
    def quantize(cls, w: NDArray[np.float32]) -> PackedTensor:
        """Round to nearest even; what is beyond the dtype's range becomes infinite, as IEEE has it."""
        with np.errstate(over="ignore"):
            return PackedTensor(
                cls, w.shape, {"weight": w.astype(ml_dtypes.bfloat16 if cls.dtype == "bfloat16" else cls.dtype)}
            )
