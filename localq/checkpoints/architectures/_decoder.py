"""What the architectures share: names of an ordinary pre-norm decoder, and the config keys every one has."""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Name
from localq.checkpoints.architectures._rope import rope_scaling
from localq.checkpoints.keys import is_array
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


# Rope scalings mlx-lm's architectures compute through its `initialize_rope`; those built on plain nn.RoPE know none
SCALINGS = ("linear", "yarn", "llama3")


def decoder(
    keys: ModelKeys,
    *,
    scalings: tuple[str, ...] = SCALINGS,
    own_head_dim: bool = True,
    partial_rope: bool = False,
    rms: bool = True,
) -> dict[str, Any]:
    """The config keys every decoder of this folder has.

    Args:
        keys: the file's keys.
        scalings: rope scalings the architecture's implementation computes; others are refused, not dropped.
        own_head_dim: a head's width may differ from hidden_size / heads.
        partial_rope: the model may rotate a part of each head (`partial_rotary_factor`).
        rms: its norms are RMS norms (`rms_norm_eps`), else layer norms (`layer_norm_eps`).

    Raises:
        UnsupportedError: the file asks for more than these allow.
    """
    heads, head_dim = keys.heads, keys.head_dim
    if not own_head_dim and heads * head_dim != keys.hidden:
        raise UnsupportedError(
            f"'{keys.architecture}' heads are {head_dim} wide; localq expects embedding_length / head_count = "
            f"{keys.hidden}/{heads} in this architecture."
        )
    rotated = keys.integer("rope.dimension_count", head_dim)
    if rotated != head_dim and not partial_rope:
        raise UnsupportedError(
            f"'{keys.architecture}.rope.dimension_count' is {rotated}, but a head has {head_dim} dimensions; "
            f"localq rotates whole heads in this architecture."
        )
    vocab, hidden = embedding(keys)
    config: dict[str, Any] = {
        "hidden_size": hidden,
        "num_hidden_layers": keys.layers,
        "intermediate_size": keys.integer("feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": keys.kv_heads,
        "head_dim": head_dim,
        ("rms" if rms else "layer") + "_norm_eps": keys.number(f"attention.layer_norm_{'rms_' if rms else ''}epsilon"),
        "vocab_size": vocab,
        "max_position_embeddings": keys.integer("context_length"),
        "rope_theta": keys.number("rope.freq_base", 10000.0),
        "tie_word_embeddings": "output.weight" not in keys.tensors,
    }
    scaling = rope_scaling(keys, rotated, config["rope_theta"])
    if scaling and scaling["rope_type"] not in scalings:
        raise UnsupportedError(
            f"This {keys.architecture} file scales its rope ({scaling['rope_type']}, factor {scaling.get('factor')}); "
            f"localq's {keys.architecture} computes {', '.join(scalings) or 'no scaling'}.",
            "Use the file of the same model without extended context.",
        )
    if scaling:
        config["rope_scaling"] = scaling
    return config


def sliding_layers(keys: ModelKeys, period: int) -> list[bool]:
    """Which layers see only a window: all but each `period`-th, unless the file has its own pattern.

    GGUF writes the pattern as a period or as one flag per layer (`get_key_or_arr`, src/llama-model-loader.cpp).
    """
    found, name = keys.value("attention.sliding_window_pattern"), "attention.sliding_window_pattern"
    if is_array(found):
        flags = [bool(one) for one in found]
        if len(flags) not in (keys.layers, keys.blocks):  # blocks that predict further tokens may have flags too
            raise CheckpointError(f"'{keys.architecture}.{name}' has {len(flags)} values for {keys.layers} layers.")
        return flags[: keys.layers]
    period = keys.integer(name, period)
    return [period > 1 and i % period < period - 1 for i in range(keys.layers)]


def sliding_period(sliding: list[bool]) -> int | None:
    """p, where exactly every p-th layer is global; None where no p fits."""
    period = sliding.index(False) + 1 if False in sliding else None
    fits = period and all(flag == ((i + 1) % period != 0) for i, flag in enumerate(sliding))
    return period if fits else None


def rotated_share(keys: ModelKeys) -> float:
    """`partial_rotary_factor`: the part of each head that is rotated."""
    return keys.integer("rope.dimension_count", keys.head_dim) / keys.head_dim


def per_layer(keys: ModelKeys, key: str, default: int | None = None) -> list[int]:
    """A whole number for each layer, from one for all of them or a list."""
    found = keys.value(key)
    values = list(found)[: keys.layers] if is_array(found) else [keys.integer(key, default)] * keys.layers
    if len(values) != keys.layers or any(type(v) is not int or v < 0 for v in values):
        raise CheckpointError(f"'{keys.architecture}.{key}' is no list of {keys.layers} whole numbers.")
    return values


def embedding(keys: ModelKeys) -> tuple[int, int]:
    """Vocabulary and width of the embedding, checked against each other."""
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
