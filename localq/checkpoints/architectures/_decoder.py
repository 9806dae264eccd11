"""What the architectures share: names of an ordinary pre-norm decoder, and the config keys every one has."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._rope import rope_scaling
from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

LAYER = "model.layers.{i}."

OUTER: dict[str, str | Name] = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": Name("lm_head.weight", optional=True),
}
NORMS: dict[str, str | Name] = {
    "blk.{i}.attn_norm.weight": LAYER + "input_layernorm.weight",
    "blk.{i}.ffn_norm.weight": LAYER + "post_attention_layernorm.weight",
}
ATTENTION: dict[str, str | Name] = {
    "blk.{i}.attn_q.weight": LAYER + "self_attn.q_proj.weight",
    "blk.{i}.attn_k.weight": LAYER + "self_attn.k_proj.weight",
    "blk.{i}.attn_v.weight": LAYER + "self_attn.v_proj.weight",
    "blk.{i}.attn_output.weight": LAYER + "self_attn.o_proj.weight",
}
QK_NORMS: dict[str, str | Name] = {
    "blk.{i}.attn_q_norm.weight": LAYER + "self_attn.q_norm.weight",
    "blk.{i}.attn_k_norm.weight": LAYER + "self_attn.k_norm.weight",
}
MLP: dict[str, str | Name] = {
    "blk.{i}.ffn_gate.weight": LAYER + "mlp.gate_proj.weight",
    "blk.{i}.ffn_up.weight": LAYER + "mlp.up_proj.weight",
    "blk.{i}.ffn_down.weight": LAYER + "mlp.down_proj.weight",
}


def biases(names: dict[str, str | Name], optional: bool = False) -> dict[str, str | Name]:
    """The bias beside every weight of a table; a rule that moves rows moves the bias too."""
    found: dict[str, str | Name] = {}
    for gguf, target in names.items():
        name = target if isinstance(target, Name) else Name(target)
        bias = name._replace(hf=name.hf.removesuffix("weight") + "bias", optional=optional)
        found[gguf.removesuffix("weight") + "bias"] = bias
    return found


def decoder(keys: ModelKeys, partial_rope: bool = False) -> dict[str, Any]:
    """The config keys every decoder of this folder has.

    Args:
        keys: the file's keys.
        partial_rope: the model may rotate a part of each head (`partial_rotary_factor`).
    """
    heads, head_dim = keys.heads, keys.head_dim
    rotated = keys.integer("rope.dimension_count", head_dim)
    if rotated != head_dim and not partial_rope:
        raise UnsupportedError(
            f"'{keys.architecture}.rope.dimension_count' is {rotated}, but a head has {head_dim} dimensions; "
            f"localq rotates whole heads in this architecture."
        )
    vocab, hidden = _embedding(keys)
    config: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.kv_heads,
        "head_dim": head_dim,
        "rms_norm_eps": keys.number("attention.layer_norm_rms_epsilon"),
        "vocab_size": vocab,
        "max_position_embeddings": keys.integer("context_length"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
    }
    scaling = rope_scaling(keys, rotated, config["rope_theta"])
    if scaling:
        config["rope_scaling"] = scaling
    return config


def _embedding(keys: ModelKeys) -> tuple[int, int]:
    shape = keys.shape("token_embd.weight")
    if len(shape) != 2 or shape[1] != keys.hidden:
        raise CheckpointError(
            f"'token_embd.weight' has shape {shape}; '{keys.architecture}.embedding_length' says "
            f"[vocabulary, {keys.hidden}]."
        )
    return shape[0], shape[1]


def has_biases(keys: ModelKeys, *stems: str) -> bool:
    """Whether the layers' linears `stems` have biases: all of them in all layers, or none.

    Raises:
        UnsupportedError: only some have.
    """
    wanted = [f"blk.{i}.{stem}.bias" for i in range(keys.layers) for stem in stems]
    wanted = [w for w in wanted if w.replace(".bias", ".weight") in keys.tensors]
    there = [w for w in wanted if w in keys.tensors]
    if there and len(there) != len(wanted):
        missing = next(w for w in wanted if w not in keys.tensors)
        raise UnsupportedError(
            f"The GGUF file has '{there[0]}' but not '{missing}'; localq expects biases on all of "
            f"{', '.join(stems)} or on none."
        )
    return bool(there)


def expert_counts(keys: ModelKeys) -> tuple[int, int]:
    """Experts, and experts used per token."""
    experts, used = keys.integer("expert_count"), keys.integer("expert_used_count")
    if not 0 < used <= experts:
        raise CheckpointError(f"'{keys.architecture}' counts {experts} experts and uses {used} of them.")
    return experts, used
