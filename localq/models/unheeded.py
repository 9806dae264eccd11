"""What a config asks for and an architecture would pass over without a word: refused by name.

mlx-lm's architectures take the keys they know and drop the rest. Two of the rest change the answers: a rope scaling
where the architecture builds plain ropes, and an activation other than the one it has. Configs written by
transformers 5 keep the rope's base in `rope_parameters`, which most architectures do not look into.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from typing import Any

from mlx.nn.layers.base import Module
from mlx.nn.layers.positional_encoding import RoPE

from localq.checkpoints.absent_keys import PATTERNED
from localq.errors import UnsupportedError
from localq.models.ignored_keys import check_keys

# Words by which an architecture's source shows that it computes an activation
_WORDS = {
    "silu": ("silu", "swiglu", "swish"),
    "swish": ("silu", "swiglu", "swish"),
    "swiglu": ("silu", "swiglu"),
    "relu2": ("relu2", "relu_squared", "relu", "square"),
    "sqrelu": ("relu2",),
}


def spelled_out(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config, also its text part, with transformers 5's keys under the older ones as well where those are not set.

    These are `rope_parameters`, and `num_local_experts` of models whose older key is `num_experts`.
    """
    full = dict(config)
    _set_missing(full, "num_experts", full.get("num_local_experts"))
    _set_missing(full, "layernorm_epsilon", full.get("rms_norm_eps"))  # MiMo's older name
    if isinstance(full.get("text_config"), Mapping):
        full["text_config"] = spelled_out(full["text_config"])
    found = full.get("rope_parameters")
    if not isinstance(found, Mapping):
        return full
    rope: Mapping[str, Any] = found
    whole, local = found.get("full_attention"), found.get("sliding_attention")
    if isinstance(whole, Mapping) and isinstance(local, Mapping):  # Gemma 3 and others with two ropes
        _set_missing(full, "rope_local_base_freq", local.get("rope_theta"))
        rope = whole
    _set_missing(full, "rope_theta", rope.get("rope_theta"))
    _set_missing(full, "partial_rotary_factor", rope.get("partial_rotary_factor"))
    if (rope.get("rope_type") or rope.get("type") or "default") != "default":
        _set_missing(full, "rope_scaling", dict(rope))
    return full


def _set_missing(config: dict[str, Any], key: str, value: Any) -> None:
    if value is not None and config.get(key) is None:
        config[key] = value


def check(model: Module, config: Mapping[str, Any]) -> None:
    """Refuse what the built model does not compute.

    Raises:
        UnsupportedError: a rope scaling, an activation or another key the architecture drops.
    """
    inner = config.get("text_config")
    text = inner if isinstance(inner, Mapping) else config
    _check_scaling(model, text)
    _check_bases(model, text)
    _check_kinds(text)
    _check_activation(model, text)
    check_keys(text)


def _check_scaling(model: Module, text: Mapping[str, Any]) -> None:
    scaling = text.get("rope_scaling")
    if not isinstance(scaling, Mapping):
        return
    kind = scaling.get("rope_type") or scaling.get("type")
    if kind in (None, "default", "none", "mrope") or scaling.get("factor") == 1.0 and "short_factor" not in scaling:
        return
    ropes = [module for _, module in model.named_modules() if "rope" in type(module).__name__.lower()]
    if ropes and all(type(rope) is RoPE and rope.scale == 1.0 for rope in ropes):
        raise UnsupportedError(
            f"The config scales its rope ({str(kind)[:40]!r}, factor {scaling.get('factor')}); mlx-lm's "
            f"'{str(text.get('model_type'))[:40]}' computes none.",
            "Remove rope_scaling from a copy of the config to use the model within its original context.",
        )


def _check_bases(model: Module, text: Mapping[str, Any]) -> None:
    """Kinds of layers may each have a rope of their own, where the architecture has two."""
    found, used = text.get("rope_parameters"), text.get("layer_types")
    kinds = found if isinstance(found, Mapping) else {}
    ropes = [v for k, v in kinds.items() if isinstance(v, Mapping) and (not isinstance(used, list) or k in used)]
    bases = [(rope.get("rope_theta"), rope.get("partial_rotary_factor")) for rope in ropes]
    apart = any(base != bases[0] for base in bases)
    source = _source(model) if apart else ""
    if source and not any(word in source for word in ("rope_parameters", "rope_local_base_freq", "swa_rope_theta")):
        raise UnsupportedError(
            f"The config turns its kinds of layers by different bases ({', '.join(str(b[0])[:20] for b in bases)}); "
            f"mlx-lm's '{str(text.get('model_type'))[:40]}' has one for all."
        )


def _check_kinds(text: Mapping[str, Any]) -> None:
    """A list of layers is heeded where it is the pattern that the architecture has."""
    kinds, every = text.get("layer_types"), text.get("sliding_window_pattern")
    if text.get("model_type") not in PATTERNED or not isinstance(kinds, list) or not isinstance(every, int):
        return
    wrong = [i for i, kind in enumerate(kinds) if (kind == "sliding_attention") == ((i + 1) % max(every, 1) == 0)]
    if wrong:
        raise UnsupportedError(
            f"The config's layer {wrong[0]} is '{str(kinds[wrong[0]])[:40]}'; mlx-lm's '{text.get('model_type')}' has "
            f"full attention in every layer whose number divides by {every}, and in no other."
        )


def _check_activation(model: Module, text: Mapping[str, Any]) -> None:
    name = text.get("hidden_activation") or text.get("hidden_act")  # Gemma has both, the first one counts
    if not isinstance(name, str):
        return
    lower = name.lower()
    words = _WORDS.get(lower, ("gelu", "geglu") if "gelu" in lower else (lower,))
    source = _source(model)
    if source and not any(word in source for word in words):
        raise UnsupportedError(
            f"The config's activation is {name[:40]!r}; mlx-lm's '{str(text.get('model_type'))[:40]}' has another."
        )


def _source(model: Module) -> str:
    """The architecture's own code, in lower case: the modules its layers are defined in."""
    modules = {type(module).__module__ for _, module in model.named_modules()} | {type(model).__module__}
    own = [
        sys.modules[name] for name in sorted(modules) if name.startswith(("mlx_lm.models.", "localq.models.corrected."))
    ]
    try:
        return "\n".join(inspect.getsource(module) for module in own).lower()
    except OSError:  # installed without sources
        return ""
