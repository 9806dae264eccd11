"""Plans of architectures with recurrent layers: a state of fixed size instead of, or beside, keys and values.

`state` counts elements kept in the dtype of the activations (a convolution's last inputs), `state32` those that are
float32 whatever it is (mlx_lm/models/gated_delta.py, ssm.py, 0.32).
"""

from __future__ import annotations

from localq.errors import CheckpointError
from localq.fit.caches import LayerCache
from localq.fit.plans import Config, Planner, full_layer, heads, latent_layer, size, window_layer


def _listed(config: Config, name: str) -> list[str]:
    found = config.get(name)
    if not isinstance(found, (list, str)):
        raise CheckpointError(f"The config's {name} is {found!r}; expected one entry per layer.")
    return [str(kind) for kind in found]


def _delta_net(config: Config) -> list[LayerCache]:
    """Qwen3-Next, Qwen3.5: gated delta nets, every `full_attention_interval`-th layer full attention."""
    keys = size(config, "linear_num_key_heads") * size(config, "linear_key_head_dim")
    value_heads, value_dim = size(config, "linear_num_value_heads"), size(config, "linear_value_head_dim")
    conv = (size(config, "linear_conv_kernel_dim") - 1) * (2 * keys + value_heads * value_dim)
    linear = LayerCache("state", state=conv, state32=value_heads * value_dim * size(config, "linear_key_head_dim"))
    period = size(config, "full_attention_interval", default=4)
    full = full_layer(config)
    return [linear if (i + 1) % period else full for i in range(size(config, "num_hidden_layers"))]


def _convolutions(config: Config) -> list[LayerCache]:
    """LFM2: short convolutions and some full attention."""
    layers = size(config, "num_hidden_layers")
    if config.get("full_attn_idxs") is not None:
        attention = set(map(int, _listed(config, "full_attn_idxs")))
    else:
        attention = {i for i, kind in enumerate(_listed(config, "layer_types")) if kind == "full_attention"}
    state = LayerCache("state", state=(size(config, "conv_L_cache") - 1) * size(config, "hidden_size"))
    width = 2 * heads(config) * (size(config, "hidden_size") // size(config, "num_attention_heads"))
    return [LayerCache("full", width) if i in attention else state for i in range(layers)]


def mamba2_state(inner_heads: int, width: int, groups: int, state: int, kernel: int) -> LayerCache:
    """Mamba-2: the convolution's inputs (x, B, C) and a matrix a head (float32)."""
    conv = (kernel - 1) * (inner_heads * width + 2 * groups * state)
    return LayerCache("state", state=conv, state32=inner_heads * width * state)


def _mamba2(config: Config) -> list[LayerCache]:
    state = mamba2_state(
        size(config, "num_heads"),
        size(config, "head_dim"),
        size(config, "n_groups"),
        size(config, "ssm_state_size", "state_size"),
        size(config, "conv_kernel"),
    )
    return [state] * size(config, "num_hidden_layers")


def _mamba(config: Config) -> list[LayerCache]:
    inner = size(config, "intermediate_size", "d_inner")
    conv = (size(config, "conv_kernel", "d_conv") - 1) * inner
    state = LayerCache("state", state=conv + inner * size(config, "state_size", "d_state"))
    return [state] * size(config, "num_hidden_layers", "n_layer", "n_layers")


def _nemotron(config: Config) -> list[LayerCache]:
    """Nemotron-H: M is Mamba-2, * attention, - and E keep nothing."""
    state = mamba2_state(
        size(config, "mamba_num_heads"),
        size(config, "mamba_head_dim"),
        size(config, "n_groups"),
        size(config, "ssm_state_size"),
        size(config, "conv_kernel"),
    )
    names = {"mamba": "M", "attention": "*", "moe": "E", "mlp": "-"}
    key = next((k for k in ("hybrid_override_pattern", "layers_block_type", "layer_types") if config.get(k)), "")
    kinds = [names.get(kind, kind) for kind in _listed(config, key or "hybrid_override_pattern")]
    full = full_layer(config)
    return [state if kind == "M" else full for kind in kinds if kind in ("M", "*")]


def _granite(config: Config) -> list[LayerCache]:
    kinds = _listed(config, "layer_types")
    full = LayerCache("full", 2 * heads(config) * (size(config, "hidden_size") // size(config, "num_attention_heads")))
    if "mamba" not in kinds:
        return [full] * len(kinds)
    state = mamba2_state(
        size(config, "mamba_n_heads"),
        size(config, "mamba_d_head"),
        size(config, "mamba_n_groups"),
        size(config, "mamba_d_state"),
        size(config, "mamba_d_conv"),
    )
    return [state if kind == "mamba" else full for kind in kinds]


def _falcon(config: Config) -> list[LayerCache]:
    """Falcon-H1: attention and Mamba-2 side by side in every layer."""
    state = mamba2_state(
        size(config, "mamba_n_heads"),
        size(config, "mamba_d_head"),
        size(config, "mamba_n_groups"),
        size(config, "mamba_d_state"),
        size(config, "mamba_d_conv"),
    )
    layer = full_layer(config)._replace(state=state.state, state32=state.state32)
    return [layer] * size(config, "num_hidden_layers")


def _jamba(config: Config) -> list[LayerCache]:
    layers = size(config, "num_hidden_layers")
    if config.get("layers_block_type") is not None:
        kinds = _listed(config, "layers_block_type")
    else:
        period, offset = size(config, "attn_layer_period"), size(config, "attn_layer_offset")
        kinds = ["attention" if i % max(period, 1) == offset else "mamba" for i in range(layers)]
    inner = size(config, "mamba_expand") * size(config, "hidden_size")
    state = (size(config, "mamba_d_conv") - 1) * inner + inner * size(config, "mamba_d_state")
    width = 2 * heads(config) * (size(config, "hidden_size") // size(config, "num_attention_heads"))
    return [LayerCache("full", width) if kind == "attention" else LayerCache("state", state=state) for kind in kinds]


def _kimi(config: Config) -> list[LayerCache]:
    """Kimi Linear: delta attention with three short convolutions, and some latent attention."""
    linear = config.get("linear_attn_config")
    if not isinstance(linear, dict):
        raise CheckpointError(f"The config's linear_attn_config is {linear!r}; expected an object.")
    count, width = size(linear, "num_heads"), size(linear, "head_dim")
    conv = 3 * (size(linear, "short_conv_kernel_size", default=4) - 1) * count * width
    state = LayerCache("state", state=conv, state32=count * width * width)
    own = set(map(int, _listed(linear, "kda_layers")))
    return [state if i + 1 in own else latent_layer(config) for i in range(size(config, "num_hidden_layers"))]


def _ling(config: Config) -> list[LayerCache]:
    """Ling 3: as Kimi Linear, latent attention in the last layer of each group and in what is no full group."""
    count, width = size(config, "num_attention_heads"), size(config, "head_dim")
    conv = 3 * (size(config, "short_conv_kernel_size", default=4) - 1) * count * width
    state = LayerCache("state", state=conv, state32=count * width * width)
    layers, group = size(config, "num_hidden_layers"), max(size(config, "layer_group_size", default=4), 1)
    latent = [(i + 1) % group == 0 or i >= layers // group * group for i in range(layers)]
    return [latent_layer(config) if flag else state for flag in latent]


def _lightning(config: Config) -> list[LayerCache]:
    """Ring and Ling's linear models: a matrix a head, and full attention as in `_ling`."""
    count, width = size(config, "num_attention_heads"), size(config, "head_dim")
    state = LayerCache("state", state=count * width * width)
    full = latent_layer(config) if config.get("model_type") == "bailing_hybrid" else full_layer(config)
    layers, group = size(config, "num_hidden_layers"), max(size(config, "layer_group_size"), 1)
    return [full if (i + 1) % group == 0 or i >= layers // group * group else state for i in range(layers)]


def _olmo(config: Config) -> list[LayerCache]:
    """OLMo hybrid: gated delta nets with three convolutions."""
    keys = size(config, "linear_num_key_heads") * size(config, "linear_key_head_dim")
    value_heads, value_dim = size(config, "linear_num_value_heads"), size(config, "linear_value_head_dim")
    conv = (size(config, "linear_conv_kernel_dim") - 1) * (2 * keys + value_heads * value_dim)
    state = LayerCache("state", state=conv, state32=value_heads * value_dim * size(config, "linear_key_head_dim"))
    full = full_layer(config)
    return [state if kind == "linear_attention" else full for kind in _listed(config, "layer_types")]


def _griffin(config: Config) -> list[LayerCache]:
    """RecurrentGemma: a convolution's inputs and a state, or a window of attention with one key/value head."""
    width = size(config, "lru_width", "hidden_size")
    state = LayerCache("state", state=size(config, "conv1d_width") * width)
    window = window_layer({**config, "num_key_value_heads": 1, "head_dim": None}, "attention_window_size")
    kinds = _listed(config, "block_types" if config.get("block_types") else "_block_types")
    kinds = [kinds[i % max(len(kinds), 1)] for i in range(size(config, "num_hidden_layers"))]
    return [state if kind == "recurrent" else window for kind in kinds]


def _gear(config: Config) -> list[LayerCache]:
    """Gear: full attention, windows, and convolutions of queries, keys and values."""
    state = LayerCache("state", state=2 * (size(config, "conv_L_cache") - 1) * size(config, "hidden_size"))
    kinds = {"full_attention": full_layer(config), "sliding_attention": window_layer(config)}
    return [kinds.get(kind, state) for kind in _listed(config, "layer_types")]


def _baichuan(config: Config) -> list[LayerCache]:
    """Baichuan M1: keys and values are convolved with the last token's, which is kept beside the cache."""
    sliding = set(map(int, _listed(config, "sliding_window_layers")))
    last = full_layer(config).width
    kinds = (window_layer(config)._replace(state=last), full_layer(config)._replace(state=last))
    return [kinds[i not in sliding] for i in range(size(config, "num_hidden_layers"))]


def _rwkv7(config: Config) -> list[LayerCache]:
    hidden = size(config, "hidden_size")
    return [LayerCache("state", state=2 * hidden + hidden * size(config, "head_dim"))] * size(
        config, "num_hidden_layers"
    )


def _plamo2(config: Config) -> list[LayerCache]:
    """Plamo 2: Mamba layers, with attention in every `mamba_step`-th."""
    width, step = size(config, "hidden_size_per_head", default=128), size(config, "mamba_step", default=2)
    inner = size(config, "mamba_num_heads") * width
    conv = (size(config, "mamba_d_conv", default=4) - 1) * inner
    state = LayerCache("state", state=conv, state32=inner * size(config, "mamba_d_state"))
    full = LayerCache("full", 2 * heads(config) * width)
    return [full if i % step == step // 2 else state for i in range(size(config, "num_hidden_layers"))]


RECURRENT: dict[str, Planner] = {
    "qwen3_next": _delta_net,
    "qwen3_5": _delta_net,
    "qwen3_5_moe": _delta_net,
    "lfm2": _convolutions,
    "lfm2_moe": _convolutions,
    "mamba": _mamba,
    "falcon_mamba": _mamba,
    "mamba2": _mamba2,
    "nemotron_h": _nemotron,
    "granitemoehybrid": _granite,
    "falcon_h1": _falcon,
    "jamba": _jamba,
    "kimi_linear": _kimi,
    "kimi_k3": _kimi,
    "bailing_moe_v3": _ling,
    "bailing_hybrid": _lightning,
    "bailing_moe_linear": _lightning,
    "olmo_hybrid": _olmo,
    "recurrent_gemma": _griffin,
    "gear": _gear,
    "baichuan_m1": _baichuan,
    "rwkv7": _rwkv7,
    "plamo2": _plamo2,
}
