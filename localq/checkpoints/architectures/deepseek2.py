"""DeepSeek V2 and V3, R1, Kimi K2, GLM-4.7-Flash, Moonlight, GigaChat 3, Youtu: latent attention under one GGUF name.

The router tells them apart: V2's experts are weighed by a softmax, all later ones by sigmoids with a correction bias.
mlx-lm's deepseek_v3 has an epsilon of 1e-6 built into two norms; a file with another one (GLM-4.7-Flash) is run as
glm4_moe_lite, the same computation with the file's.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._mla import LATENT, experts, halves_apart, join_halves, latent
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys

SOFTMAX, SIGMOID = 1, 2  # llama.cpp's expert_gating_func


def _gating(keys: ModelKeys) -> int:
    """How experts are weighed; old files do not say and llama.cpp knows GLM-4.7-Flash by its vocabulary."""
    vocab = keys.shape("token_embd.weight")[0]
    default = SIGMOID if keys.layers in (47, 48) and vocab == 154880 else SOFTMAX
    found = keys.integer("expert_gating_func", 0) or default
    if found not in (SOFTMAX, SIGMOID):
        keys.refuse("expert_gating_func")
    return found


def _choose(keys: ModelKeys) -> Architecture:
    if keys.integer("expert_count", 0) == 0:
        return YOUTU
    if _gating(keys) == SOFTMAX:
        return V2
    return V3 if keys.number("attention.layer_norm_rms_epsilon") == 1e-6 else GLM


def untied(keys: ModelKeys) -> dict[str, Any]:
    """`latent` of the models whose head is a matrix of its own."""
    config = latent(keys)
    if config["tie_word_embeddings"]:
        raise UnsupportedError(
            f"The GGUF file has no 'output.weight'; localq's {keys.architecture} needs a head of its own."
        )
    return config


def _v2(keys: ModelKeys) -> dict[str, Any]:
    config = {**untied(keys), **experts(keys), "scoring_func": "softmax"}
    if config["norm_topk_prob"]:
        keys.refuse("expert_weights_norm")
    method = "group_limited_greedy" if config["n_group"] > 1 else "greedy"
    return {**config, "topk_method": method, "kv_b_split": halves_apart(keys)}


def v3(keys: ModelKeys) -> dict[str, Any]:
    """Experts weighed by sigmoids, chosen with a correction bias."""
    _gating(keys)
    return {**untied(keys), **experts(keys), "scoring_func": "sigmoid", "topk_method": "noaux_tc"}


def _youtu(keys: ModelKeys) -> dict[str, Any]:
    _gating(keys)
    experts(keys)
    config = latent(keys)
    if config.pop("rope_scaling") is not None:
        keys.refuse("rope.scaling.type", "rope.scaling.factor")
    return {**config, "mlp_bias": False, "kv_b_split": halves_apart(keys)}


V2 = Architecture(model_type="deepseek_v2", names=LATENT, config=_v2, prepare=join_halves)
V3 = Architecture(model_type="deepseek_v3", names=LATENT, config=v3, prepare=join_halves)
GLM = Architecture(model_type="glm4_moe_lite", names=LATENT, config=v3, prepare=join_halves)
YOUTU = Architecture(model_type="youtu_llm", names=LATENT, config=_youtu, prepare=join_halves)

ARCHITECTURE = V3._replace(choose=_choose, variants=("deepseek_v2", "glm4_moe_lite", "youtu_llm"))
