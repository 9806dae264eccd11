"""Which ggml types each tiny model is packed in: several inside one layer, every type somewhere in the set."""

from __future__ import annotations

import zlib
from collections.abc import Callable

# arch -> types dealt over its matrices. nvfp4 only where llama.cpp's graph multiplies its second scale in.
POOLS: dict[str, tuple[str, ...]] = {
    "llama": ("q4_0", "q8_0", "nvfp4"),
    "llama3": ("q4_k", "q5_k", "q6_k"),
    "mistral": ("q2_k", "q3_k", "iq4_xs"),
    "mixtral": ("q4_1", "q5_0", "q5_1", "nvfp4"),
    "qwen2": ("iq4_nl", "q8_0", "f16"),
    "qwen3": ("iq2_xxs", "iq3_xxs", "iq2_s"),
    "qwen3_moe": ("iq1_s", "iq1_m", "q4_k", "nvfp4"),
    "gemma2": ("iq2_xs", "iq3_s", "bf16"),
    "gemma3": ("tq1_0", "tq2_0", "q1_0", "q2_0"),
    "phi3": ("q3_k", "q5_k", "q8_0"),
    "phi3_longrope": ("q4_0", "iq4_nl"),
    "phi4": ("q4_k", "q6_k"),
    "gpt_oss": ("mxfp4", "q8_0"),
}


def mixture(arch: str) -> Callable[[str, tuple[int, ...]], str]:
    """Deals the types of `arch` over tensor names, the same on every machine."""
    pool = POOLS[arch]

    def choose(name: str, shape: tuple[int, ...]) -> str:
        return pool[zlib.crc32(name.encode()) % len(pool)]

    return choose
