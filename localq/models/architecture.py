"""From a config to an mlx-lm model without weights, and what is declared about architectures that need help.

mlx-lm builds its parameters lazily, so building costs Python objects, not memory; a hostile config is refused before
that, by its own numbers against the tensors that are really there. Nothing of a checkpoint is executed:
`model_file` and `auto_map` are not followed.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from typing import Any

from mlx.nn.layers.base import Module

from localq.checkpoints.base import TensorSpec
from localq.errors import CheckpointError, UnsupportedError
from localq.kernels import registry
from localq.models import corrected, unheeded

# Source tensors an architecture's `sanitize` edits by value, delivered decoded. Conv kernels are [out, width, 1] or so:
# never packed, small, and several architectures transpose them after a look at their shape.
DECODED: dict[str, tuple[str, ...]] = {
    "*": (r"conv\d?d?\.weight$", r"conv_?1d\.weight$"),
    "gpt_oss": (r"experts\.(gate_up|down)_proj_bias$",),  # gate and up alternate, beside packed experts too
    "rwkv7": (r"\.k_k$", r"\.k_a$", r"g_norm", r"\.x_x$"),
}

# The same for tensors that are stored edited where they are packed.
DECODED_FLOATS: dict[str, tuple[str, ...]] = {
    "baichuan_m1": (r"lm_head\.weight$",),
    "gpt_oss": (r"experts\.(gate_up|down)_proj$",),  # in 16 bits they lie transposed, gate and up in alternate columns
}

# Modules whose `weight` an architecture reads as an array (research: a sweep over all of mlx-lm with opaque modules).
READ_DIRECTLY: dict[str, tuple[str, ...]] = {
    "gemma3n": (r"correction_coefs$", r"prediction_coefs$"),
    "iquestloopcoder": (r"gate_projections",),
    "kimi_k3": (r"_res_proj$",),
    "muse_spark": (r"gate$", r"lm_head$"),
}

# Multimodal architectures that take the text part under `language_model.model.` only, or its head at least beside it;
# transformers 5 writes `model.language_model.` and `lm_head.`.
NESTED = {"gemma3", "kimi_k25", "kimi_vl", "lfm2-vl", "llama4", "pixtral"}
HEAD_INSIDE = NESTED | {"gemma4"}

# Modules of mlx-lm that localq does not run: why, and whether an Apple GPU helps
_NOT_RUN: dict[str, tuple[str, bool]] = {
    "muse_spark": ("its attention is a Metal kernel, which needs an Apple GPU", True),
    "phi3small": ("the mask of its block-sparse attention is right for whole prompts only, not in pieces", False),
    "prism_hadamard_qwen35": (
        "Prism's packs rotate the activations of every layer at run time; localq does not",
        False,
    ),
}

_COUNTED = re.compile(r"^(num_(hidden_|decoder_)?layers|n_layers?|(num|n)_\w*experts|(?!share_)\w*_layers)$")
_MEASURED = re.compile(
    r"^(\w*hidden_size|\w*intermediate_size\w*|\w*vocab_size|\w*head_dim|\w*_lora_rank|num_\w*heads|n_\w*heads?"
    r"|\w*_embd|d_model|d_ff|dim|hidden_dim)$"
)
_POSITIVE = {"hidden_size", "vocab_size", "num_hidden_layers", "num_attention_heads"}


def check_config(config: Mapping[str, Any], specs: Mapping[str, TensorSpec]) -> None:
    """Refuse a config whose sizes the tensors cannot back.

    Raises:
        CheckpointError: a size that is no whole number, negative, or larger than any tensor allows.
    """
    longest = max((side for spec in specs.values() for side in spec.shape), default=0)
    most = max(longest, len(specs))
    for section in (config, config.get("text_config")):
        if not isinstance(section, Mapping):
            continue
        for key, value in section.items():
            if _COUNTED.match(key):
                _check_size(key, value, most if "expert" in key else len(specs))
            elif _MEASURED.match(key):
                _check_size(key, value, 2 * longest)


def _check_size(key: str, value: Any, limit: int) -> None:
    if value is None or isinstance(value, (list, tuple)):
        for one in value or ():
            _check_size(key, one, limit)
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < (key in _POSITIVE):
        raise CheckpointError(f"The config's {key} is {value!r}; expected a whole number above zero.")
    if value > limit:
        raise CheckpointError(f"The config's {key} is {value}; the checkpoint's tensors allow at most {limit}.")


def build(config: Mapping[str, Any]) -> Module:
    """An mlx-lm model of this config, its parameters lazy placeholders.

    Raises:
        UnsupportedError: mlx-lm has no such architecture, or the config asks for what localq does not run.
        CheckpointError: the config does not describe that architecture.
    """
    if config.get("quantize_activations"):
        raise UnsupportedError("The config asks for quantised activations; localq multiplies in floating point only.")
    model_class, args_class = find_classes(config)
    full = unheeded.spelled_out(config)
    try:
        model: Module = model_class(args_class.from_dict(full))
    except UnsupportedError:  # said by a corrected class, in its own words
        raise
    except Exception as error:  # any model's constructor may trip over a lying config in its own way
        raise CheckpointError(
            f"The config does not describe a complete '{config['model_type']}' model: {type(error).__name__}: {error}."
        ) from error
    unheeded.check(model, full)
    return model


def find_classes(config: Mapping[str, Any]) -> tuple[Any, Any]:
    """The Model and ModelArgs classes for a config: mlx-lm's, or those of `corrected` where mlx-lm's are wrong.

    Raises:
        UnsupportedError: mlx-lm has no such architecture.
        CheckpointError: `model_type` is no name.
    """
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or not re.fullmatch(r"[A-Za-z0-9_.-]+", model_type):
        raise CheckpointError(f"The config's model_type is {model_type!r}; expected an architecture's name.")
    from mlx_lm.utils import _get_classes

    why, on_metal = _NOT_RUN.get(model_type, ("", True))
    if why and not (on_metal and registry.device() == "metal"):
        raise UnsupportedError(f"localq cannot run the architecture '{model_type}' here: {why}.")
    found = corrected.find(model_type)
    if found is not None:
        return found
    try:
        classes: tuple[Any, Any] = _get_classes(dict(config))
    except ValueError as error:
        raise UnsupportedError(
            f"localq cannot run the architecture '{model_type}': mlx-lm {_mlx_lm_version()} does not know it.",
            "A newer mlx-lm may (pip install -U mlx-lm); a GGUF of it may run with --engine llama.",
        ) from error
    return classes


def renamed(model_type: str, name: str, parameters: Container[str]) -> str:
    """A stored name as the architecture's `sanitize` expects it; `parameters` are the model's own paths."""
    if model_type in NESTED and name.startswith("model.language_model."):
        return f"language_model.model.{name.removeprefix('model.language_model.')}"
    if model_type in HEAD_INSIDE and name.startswith("lm_head.") and f"language_model.{name}" in parameters:
        return f"language_model.{name}"
    if model_type == "gpt2":  # with and without the name of the whole
        return name.removeprefix("transformer.")
    return name


def decoded_first(model_type: str, name: str, family: str = "float") -> bool:
    """Whether `sanitize` must see the values of this source tensor, stored in a format of this family."""
    return _listed(DECODED, model_type, name) or family == "float" and _listed(DECODED_FLOATS, model_type, name)


def read_directly(model_type: str, module: str) -> bool:
    """Whether the architecture reads the weight of this module as an array."""
    return _listed(READ_DIRECTLY, model_type, module)


def _listed(table: Mapping[str, tuple[str, ...]], model_type: str, name: str) -> bool:
    patterns = (*table.get("*", ()), *table.get(model_type, ()))
    return any(re.search(pattern, name) for pattern in patterns)


def _mlx_lm_version() -> str:
    from importlib.metadata import version

    return version("mlx-lm")
