"""quanto: `quanto_qmap.json` beside the files says which modules are packed and how (qint4, qint8, qfloat8_e4m3fn).

Of int4 and int2 weights no shape is stored. In a decoder's layers one side of every matrix is the model's hidden_size,
and then the number of weights gives the other: the inputs of what reads the hidden state, the rows of what writes to
it. Where a name says neither, nothing is said here and the format refuses. Source: optimum-quanto 0.2.7,
models/transformers_models.py, quantize.py (`quantization_map`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError

_READS = {"q_proj", "k_proj", "v_proj", "qkv_proj", "gate_proj", "up_proj", "gate_up_proj", "fc1", "w1", "w3"}
_WRITES = {"o_proj", "down_proj", "fc2", "w2"}


def rules(config: Mapping[str, Any]) -> Callable[[str], Mapping[str, Any] | None]:
    """Module path -> `weights`, and `width` or `rows` where they are known."""
    qmap, hidden = config.get("qmap"), config.get("hidden_size")
    if qmap is None:
        return lambda path: {"quant_method": "quanto"}
    if not all(isinstance(own, Mapping) for own in qmap.values()):
        raise CheckpointError("quanto_qmap.json is no object of objects, which was expected.")
    known = isinstance(hidden, int) and not isinstance(hidden, bool) and hidden > 0

    def answer(path: str) -> Mapping[str, Any] | None:
        own = qmap.get(path)
        if own is None:
            return None
        last = path.rpartition(".")[2]
        inside = known and path.startswith("model.layers.")
        side = "width" if (known and path == "lm_head") or (inside and last in _READS) else None
        side = "rows" if inside and last in _WRITES else side
        return {"quant_method": "quanto", "weights": own.get("weights")} | ({side: hidden} if side else {})

    return answer
