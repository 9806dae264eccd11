"""gpt-oss with experts in 16 bits: stored `[expert, in, out]`, gate and up interleaved along out.

mlx-lm reads the experts as packed MXFP4 (`[expert, out, ...]`) only, and takes 16-bit ones for that. Packed stacks are
shown as rows already (int32, see provenance.py), and stay as they are.
"""

from __future__ import annotations

from typing import Any

import mlx.core as mx


def classes() -> tuple[Any, Any]:
    """Model and ModelArgs; the experts' 16-bit stacks are turned before mlx-lm splits them."""
    from mlx_lm.models import gpt_oss

    class Model(gpt_oss.Model):
        def sanitize(self, weights: dict[str, mx.array]) -> dict[str, mx.array]:
            stacks = ("experts.gate_up_proj", "experts.down_proj")
            turned = {
                n: w.swapaxes(-1, -2) if n.endswith(stacks) and w.dtype != mx.int32 else w for n, w in weights.items()
            }
            out: dict[str, mx.array] = super().sanitize(turned)  # type: ignore[no-untyped-call]
            return out

    return Model, gpt_oss.ModelArgs
