"""How wide a layer's queries, keys and values are, where heads and their widths may differ from layer to layer."""

from __future__ import annotations

from localq.checkpoints.architectures._decoder import per_layer, sliding_layers
from localq.errors import CheckpointError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def projected(keys: ModelKeys, block: str) -> tuple[int, int, int]:
    """Rows of the queries, keys and values of block `blk.N` (`n_embd_k_gqa`, src/llama-hparams.cpp).

    Raises:
        CheckpointError: it is no block of the model.
    """
    number = block.removeprefix("blk.")
    if not number.isdecimal() or len(number) > 8 or int(number) >= keys.layers:
        raise CheckpointError(
            f"The GGUF file holds fused queries, keys and values in '{block[:60]}', which is no layer."
        )
    i = int(number)
    heads = per_layer(keys, "attention.head_count")
    groups = per_layer(keys, "attention.head_count_kv", heads[i])
    derived = keys.hidden // max(heads) if max(heads) else 0
    key, value = (keys.integer(f"attention.{kind}_length", derived) for kind in ("key", "value"))
    if keys.value("attention.key_length_swa") is not None and sliding_layers(keys, period=0)[i]:
        key = keys.integer("attention.key_length_swa")
        value = keys.integer("attention.value_length_swa", key)
    if groups[i] == 0:  # a delta attention of Kimi's kind
        key = value = keys.integer("kda.head_dim")
        groups = heads
    return heads[i] * key, groups[i] * key, groups[i] * value
