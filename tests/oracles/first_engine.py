"""localq as the first engine: logits and greedy tokens of any checkpoint, by its own MLX engine.

`engine="mlx"` on purpose: `auto` may hand a GGUF to llama.cpp, and llama.cpp would then be compared with itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import localq
from localq.generate.samplers import Sampling


def logits(path: Path | str, ids: Sequence[int], context: int = 64) -> NDArray[np.float32]:
    """`localq.load(path).logits(ids)`: `[tokens, vocab]`. LongRoPE depends on the context: llama.cpp gets the same."""
    with localq.load(str(path), engine="mlx", context=context) as model:
        return model.logits(list(ids))


def greedy(path: Path | str, ids: Sequence[int], count: int, context: int | None = None) -> list[int]:
    """`count` greedy tokens after `ids`, end tokens included like any other."""
    with localq.load(str(path), engine="mlx", context=context) as model:
        return list(model.engine.generate(list(ids), Sampling(temperature=0.0, max_tokens=count)))
