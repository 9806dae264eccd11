"""Which layer of an architecture keeps what while generating: a config in, one `LayerCache` a layer out.

As mlx-lm's implementations cache (mlx_lm/models/*.py, `make_cache` and `update_and_fetch`, 0.32), which is what localq
runs. A model type that is in no table is refused: its keys might mean something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localq.errors import CheckpointError, UnsupportedError
from localq.fit.caches import LayerCache

Config = Mapping[str, Any]
Planner = Callable[[Config], list[LayerCache]]


def plan(config: Config) -> list[LayerCache]:
    """What each layer of a model keeps.

    Raises:
        UnsupportedError: an architecture without a plan here.
        CheckpointError: a size the plan needs is missing or no whole number.
    """
    from localq.fit.recurrent import RECURRENT

    model_type = config.get("model_type")
    text = text_part(config)
    for name in (model_type, text.get("model_type")):
        for table in (_WINDOWED, _OWN, RECURRENT):
            if name in table:
                return table[str(name)](text)
        if name in PLAIN or name in DIVIDED:
            own = {**text, "head_dim": None} if name in DIVIDED else text
            return [full_layer(own)] * size(text, "num_hidden_layers", "num_layers", "n_layer", "n_layers")
    raise UnsupportedError(
        f"localq has no KV cache arithmetic for the architecture '{model_type}'.",
        "The weights can still be counted: localq explain",
    )


def planned() -> frozenset[str]:
    """Model types that have a plan."""
    from localq.fit.recurrent import RECURRENT

    return PLAIN | DIVIDED | _WINDOWED.keys() | _OWN.keys() | RECURRENT.keys()


def text_part(config: Config) -> Config:
    """The language part of a config (multimodal models nest it)."""
    inner = config.get("text_config")
    return inner if isinstance(inner, Mapping) else config


def size(config: Config, *names: str, default: int | None = None) -> int:
    """The first of these keys that is there, a whole number of 0 or more.

    Raises:
        CheckpointError: none is there and there is no default, or it is no such number.
    """
    found = next((config[name] for name in names if config.get(name) is not None), default)
    if isinstance(found, bool) or not isinstance(found, int) or found < 0:
        raise CheckpointError(f"The config's {' or '.join(names)} is {found!r}; expected a whole number.")
    return found


def heads(config: Config) -> int:
    """Key/value heads: its own count, else that of the queries."""
    queries = size(config, "num_attention_heads", "n_head", "n_heads")
    return size(config, "num_key_value_heads", "n_kv_heads", "num_kv_heads", "multi_query_group_num", default=queries)


def head_dim(config: Config) -> int:
    """Width of a head: its own key, else hidden_size / heads."""
    if config.get("head_dim") is not None:
        return size(config, "head_dim")
    queries = size(config, "num_attention_heads", "n_head", "n_heads")
    return size(config, "hidden_size", "n_embd", "d_model") // max(queries, 1)


def full_layer(config: Config) -> LayerCache:
    """An attention layer that keeps keys and values of every token."""
    return LayerCache("full", 2 * heads(config) * head_dim(config))


def window_layer(config: Config, *names: str) -> LayerCache:
    """One that keeps a window, whose length is under one of `names`."""
    return LayerCache("window", 2 * heads(config) * head_dim(config), size(config, *(names or ("sliding_window",))))


def by_types(config: Config, types: list[str]) -> list[LayerCache]:
    """Full layers where the type says `full_attention`, windows elsewhere."""
    return [full_layer(config) if kind == "full_attention" else window_layer(config) for kind in types]


def _types(config: Config, period: int | None = None) -> list[str]:
    """`layer_types`, else every `period`-th layer full and the others sliding."""
    layers = size(config, "num_hidden_layers")
    types = config.get("layer_types")
    if isinstance(types, list):
        if len(types) < layers:
            raise CheckpointError(f"The config's layer_types has {len(types)} entries for {layers} layers.")
        return [str(kind) for kind in types[:layers]]
    if period is None:
        return ["full_attention"] * layers
    return ["full_attention" if i % period == period - 1 else "sliding_attention" for i in range(layers)]


def _typed(period: int | None = None) -> Planner:
    return lambda config: by_types(config, _types(config, period))


def _periodic(default: int) -> Planner:
    """The pattern is a key of its own; `layer_types`, where there, is ignored by the implementation."""

    def planner(config: Config) -> list[LayerCache]:
        period = size(config, "sliding_window_pattern", "_sliding_window_pattern", default=default)
        return by_types(config, _types({**config, "layer_types": None}, max(period, 1)))

    return planner


def _plamo3(config: Config) -> list[LayerCache]:
    """As Gemma 3; the window has two names."""
    window = size(config, "sliding_window", "window_size", default=2048)
    return _periodic(8)({**config, "sliding_window": window})


def _gemma3n(config: Config) -> list[LayerCache]:
    """The last layers use the keys and values of earlier ones."""
    types = _types(config, 5)
    return by_types(config, types[: len(types) - size(config, "num_kv_shared_layers", default=0)])


def _gemma4(config: Config) -> list[LayerCache]:
    """As gemma3n; full layers have heads of their own width and number."""
    types = _types(config, 6)
    own = types[: len(types) - size(config, "num_kv_shared_layers", default=0)]
    width = size(config, "global_head_dim", default=head_dim(config))
    shared = bool(config.get("attention_k_eq_v"))
    count = heads(config)
    if shared and config.get("num_global_key_value_heads") is not None:
        count = size(config, "num_global_key_value_heads")
    full = LayerCache("full", 2 * count * width)
    return [full if kind == "full_attention" else window_layer(config) for kind in own]


def _lettered(config: Config) -> list[LayerCache]:
    """EXAONE 4: a string of L (local) and G (global) repeated over the layers, or no windows at all."""
    layers, letters = size(config, "num_hidden_layers"), config.get("sliding_window_pattern")
    if letters is None:
        return [full_layer(config)] * layers
    if not isinstance(letters, str) or not letters or set(letters) - {"L", "G"}:
        raise CheckpointError(f"The config's sliding_window_pattern is {letters!r}; expected letters L and G.")
    types = ["sliding_attention" if letters[i % len(letters)] == "L" else "full_attention" for i in range(layers)]
    return by_types(config, types)


def _mistral(config: Config) -> list[LayerCache]:
    """Every layer slides where there is a window (models/corrected/mistral.py)."""
    layers = size(config, "num_hidden_layers")
    if config.get("sliding_window") and not config.get("layer_types"):
        return by_types(config, ["sliding_attention"] * layers)
    return _typed()(config)


def _llama4(config: Config) -> list[LayerCache]:
    full = full_layer(config)
    chunk = LayerCache("chunk", full.width, size(config, "attention_chunk_size"))
    return [chunk if (i + 1) % 4 else full for i in range(size(config, "num_hidden_layers"))]


def _mimo(config: Config) -> list[LayerCache]:
    """Full and sliding layers with head counts and widths of their own (`hybrid_layer_pattern`: 1 is sliding)."""
    full = LayerCache("full", heads(config) * (size(config, "head_dim") + size(config, "v_head_dim")))
    width = size(config, "swa_num_key_value_heads") * (size(config, "swa_head_dim") + size(config, "swa_v_head_dim"))
    window = LayerCache("window", width, size(config, "sliding_window_size", "sliding_window"))
    pattern = config.get("hybrid_layer_pattern")
    if not isinstance(pattern, list):
        raise CheckpointError(f"The config's hybrid_layer_pattern is {pattern!r}; expected one number per layer.")
    return [window if sliding == 1 else full for sliding in pattern[: size(config, "num_hidden_layers")]]


def _step(config: Config) -> list[LayerCache]:
    """Sliding layers may have head counts of their own (`attention_other_setting`)."""
    count = size(config, "num_attention_groups")
    other = config.get("attention_other_setting")
    slim = size(other, "num_attention_groups") if isinstance(other, Mapping) else count
    width = head_dim(config)
    full, window = LayerCache("full", 2 * count * width), LayerCache("window", 2 * slim * width, _window(config))
    return [window if kind == "sliding_attention" else full for kind in _types(config)]


def _window(config: Config) -> int:
    return size(config, "sliding_window", "sliding_window_size")


_WINDOWED: dict[str, Planner] = {
    "llama": _typed(),
    "mistral": _mistral,
    "ministral3": _typed(),
    "mistral3": _typed(),
    "olmo": _typed(),  # computed as Llama (models/corrected/olmo.py)
    "olmo3": _typed(4),
    "gpt_oss": _typed(2),
    "mellum": _typed(),
    "afmoe": _typed(),
    "exaone_moe": _typed(),
    "laguna": _typed(),
    "muse_glimmer": _typed(),
    "spark2_5": _typed(),
    "plamo3": _plamo3,
    "cohere2": _periodic(4),
    "gemma3": _periodic(6),
    "gemma3_text": _periodic(6),
    "gemma3n": _gemma3n,
    "gemma4": _gemma4,
    "gemma4_text": _gemma4,
    "llama4": _llama4,
    "exaone4": _lettered,
    "mimo_v2_flash": _mimo,
    "step3p5": _step,
}


def latent_layer(config: Config) -> LayerCache:
    """Multi-head latent attention: one latent and one rotated key for all heads."""
    return LayerCache("full", size(config, "kv_lora_rank") + size(config, "qk_rope_head_dim"))


def _latent(config: Config) -> list[LayerCache]:
    return [latent_layer(config)] * size(config, "num_hidden_layers", "num_layers")


def _unfolded(config: Config) -> list[LayerCache]:
    """Latent attention whose implementation caches every head's own key and value."""
    key = size(config, "qk_nope_head_dim") + size(config, "qk_rope_head_dim")
    value = size(config, "v_head_dim", default=size(config, "hidden_size") // size(config, "num_attention_heads"))
    return [LayerCache("full", size(config, "num_attention_heads") * (key + value))] * size(config, "num_hidden_layers")


def _indexed(config: Config) -> list[LayerCache]:
    """DeepSeek's sparse attention: the indexer keeps a key (and, in mlx-lm, room for a value) per token besides."""
    layer, layers = latent_layer(config), size(config, "num_hidden_layers")
    own = layer._replace(width=layer.width + 2 * size(config, "index_head_dim"))
    kinds = config.get("indexer_types")  # GLM-5.2: shared ones keep none
    return [layer if kind == "shared" else own for kind in (kinds if isinstance(kinds, list) else ["full"] * layers)]


def _twice(config: Config) -> list[LayerCache]:
    """Two attentions a layer."""
    return [latent_layer(config)] * (2 * size(config, "num_layers", "num_hidden_layers"))


def _all_heads(config: Config) -> list[LayerCache]:
    """GPT-2, GPT-NeoX, GPT-J: a key and a value for every query head."""
    layer = full_layer({**config, "num_key_value_heads": None, "head_dim": None})
    return [layer] * size(config, "num_hidden_layers", "n_layer")


def _loops(config: Config) -> list[LayerCache]:
    """Nanbeige: the layers are gone through several times, each time with caches of their own."""
    return [full_layer(config)] * (size(config, "num_hidden_layers") * size(config, "num_loops", default=1))


def _twice_and_tokens(config: Config) -> list[LayerCache]:
    """LongCat with n-grams: also the ids of the last tokens, 8 bytes each."""
    ids = LayerCache("last", window=size(config, "emb_neighbor_num", default=4) - 1, state32=2)
    return [ids, *_twice(config)]


def _loop_window(config: Config) -> list[LayerCache]:
    """IQuest's loop: every layer twice, the second time with a window."""
    layers = size(config, "num_hidden_layers")
    window = window_layer({"loop_window_size": 64, **config}, "loop_window_size")
    return [full_layer(config)] * layers + [window] * layers


def _reused(config: Config) -> list[LayerCache]:
    """AFM: the last layers use the keys and values of the last one before them."""
    names = {"num_attention_heads": "num_heads", "num_key_value_heads": "num_kv_heads", "hidden_size": "hidden_dim"}
    own = {name: size(config, key) for name, key in names.items()}
    return [full_layer(own)] * (size(config, "num_layers") - size(config, "num_kv_reuse_layers"))


def _phixtral(config: Config) -> list[LayerCache]:
    names = {"num_attention_heads": "num_heads", "hidden_size": "model_dim"}
    return [full_layer({name: size(config, key) for name, key in names.items()})] * size(config, "num_layers")


def _per_block(config: Config) -> list[LayerCache]:
    """Nemotron found by search: heads per block, or no attention at all."""
    blocks, queries = config.get("block_configs"), size(config, "num_attention_heads")
    if not isinstance(blocks, list) or not all(isinstance(b, Mapping) for b in blocks):
        raise CheckpointError(f"The config's block_configs is {type(blocks).__name__}; expected one object per layer.")
    groups = [own.get("n_heads_in_group") for b in blocks if isinstance(own := b.get("attention"), Mapping)]
    return [full_layer({**config, "num_key_value_heads": queries // g}) for g in groups if type(g) is int and g > 0]


def _openelm(config: Config) -> list[LayerCache]:
    counts = config.get("num_kv_heads")
    if not isinstance(counts, list) or not all(type(n) is int and n > 0 for n in counts):
        raise CheckpointError(f"The config's num_kv_heads is {counts!r}; expected one number per layer.")
    return [LayerCache("full", 2 * n * size(config, "head_dim")) for n in counts]


def _one_head(config: Config) -> list[LayerCache]:
    """GPT-BigCode: one key/value head for all queries where `multi_query` is set."""
    layer = full_layer({**config, "num_key_value_heads": 1} if config.get("multi_query", True) else config)
    return [layer] * size(config, "n_layer", "num_hidden_layers")


def _plamo(config: Config) -> list[LayerCache]:
    """PLaMo 13B: `n_shared_head` queries share a key, whatever the config calls the number of those."""
    queries = size(config, "num_attention_heads")
    groups = -(-queries // max(size(config, "n_shared_head", default=8), 1))
    width = size(config, "hidden_size") // max(queries, 1)
    return [LayerCache("full", 2 * groups * width)] * size(config, "num_hidden_layers")


def _minimax_m3(config: Config) -> list[LayerCache]:
    """Layers whose attention is sparse keep an index key per token besides."""
    own, full = config.get("sparse_attention_config"), full_layer(config)
    layers = size(config, "num_hidden_layers")
    if not isinstance(own, Mapping):
        return [full] * layers
    flags = own.get("sparse_attention_freq")
    if not isinstance(flags, list) or len(flags) < layers:
        raise CheckpointError(f"The config's sparse_attention_freq is {flags!r}; expected one flag per layer.")
    sparse = full._replace(width=full.width + size(own, "sparse_index_dim"))
    return [sparse if flag else full for flag in flags[:layers]]


def _dbrx(config: Config) -> list[LayerCache]:
    own = config.get("attn_config")
    count = size(own, "kv_n_heads") if isinstance(own, Mapping) else size(config, "n_heads")
    width = size(config, "d_model") // size(config, "n_heads")
    return [LayerCache("full", 2 * count * width)] * size(config, "n_layers")


_OWN: dict[str, Planner] = {
    "deepseek_v2": _unfolded,
    "minicpm3": _unfolded,
    "youtu_llm": _unfolded,
    "deepseek_v3": _latent,
    "kimi_k2": _latent,
    "mistral4": _latent,
    "glm4_moe_lite": _latent,
    "deepseek_v32": _indexed,
    "glm_moe_dsa": _indexed,
    "longcat_flash": _twice,
    "longcat_flash_ngram": _twice_and_tokens,
    "iquestloopcoder": _loop_window,
    "afm7": _reused,
    "nemotron-nas": _per_block,
    "phixtral": _phixtral,
    "gpt_bigcode": _one_head,
    "gpt2": _all_heads,
    "gpt_neox": _all_heads,
    "gptj": _all_heads,
    "nanbeige": _loops,
    "openelm": _openelm,
    "dbrx": _dbrx,
    "plamo": _plamo,
    "minimax_m3_vl": _minimax_m3,
}

# Keys and values of every token in every layer: `num_key_value_heads` heads, `head_dim` wide where that is a key ...
PLAIN = frozenset(
    """bitnet dots1 ernie4_5 ernie4_5_moe exaone gemma gemma2 glm glm4 glm4_moe hunyuan_v1_dense lille-130m
    llama4_text minicpm minimax minimax_m2 nemotron olmo2 olmoe qwen3 qwen3_moe seed_oss smollm3 solar_open talkie
    telechat3""".split()
)
# ... and hidden_size / heads wide whatever `head_dim` says.
DIVIDED = frozenset(
    """apertus bailing_moe cohere deepseek granite granitemoe granitemoeshared helium hunyuan hunyuan_v1_moe internlm2
    internlm3 Klear mimo mixtral nanochat phi phi3 phimoe qwen qwen2 qwen2_moe stablelm starcoder2""".split()
)
