"""Every architecture localq runs, its containers, and whom it was checked against: `localq formats --architectures`.

GGUF's side is the registry of checkpoints/architectures; a folder can hold whatever mlx-lm has a module for.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from localq.checkpoints.architectures import SUPPORTED

# What mlx-lm has a module for and localq still cannot run from a folder
NOT_RUN = {
    "muse_spark": "its attention is a Metal kernel of mlx-lm's own, never run by localq's tests",
    "phi3small": "its block-sparse mask is right for whole prompts only",
    "prism_hadamard_qwen35": "rotates activations at run time",
}
# mlx-lm's modules that are parts of another architecture's
_PARTS = {"gemma4_text", "llama4_text"}

# Compared with transformers too, in folders that it wrote (tests/oracles/golden_folders.py)
_TRANSFORMERS = frozenset(
    """afmoe bitnet cohere cohere2 dbrx deepseek_v2 deepseek_v3 deepseek_v32 dots1 ernie4_5 exaone4 exaone_moe
    falcon_h1 gemma gemma2 gemma3_text glm glm4 glm4_moe glm4_moe_lite glm_moe_dsa gpt2 gpt_oss gptj granite
    granitemoe granitemoehybrid helium hunyuan_v1_dense jamba laguna lfm2 lfm2_moe llama mamba mamba2 mellum minimax
    ministral3 mixtral nemotron nemotron_h olmo olmo2 olmoe phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe qwen3_next
    seed_oss smollm3 stablelm starcoder2""".split()
)


class ArchitectureFacts(NamedTuple):
    """One architecture.

    Attributes:
        model_type: Hugging Face's name.
        gguf: GGUF's names for it, empty where llama.cpp has none or localq no names for it yet.
        folder: whether it runs from a folder of safetensors.
        checked: by container, whose logits localq's were compared with.
    """

    model_type: str
    gguf: tuple[str, ...]
    folder: bool
    checked: dict[str, str]


def describe_architectures() -> list[ArchitectureFacts]:
    """All of them by `model_type`; without mlx-lm installed only those with names for GGUF."""
    named: dict[str, dict[str, str]] = {}  # model_type -> GGUF name -> checked against
    for stem, first in SUPPORTED.items():
        entries = [first] if first.with_experts is None else [first, first.with_experts]
        for entry in entries:
            for model_type in (entry.model_type, *entry.variants):
                named.setdefault(model_type, {})[stem] = entry.checked
    folders = set(mlx_lm_modules()) - set(NOT_RUN) - _PARTS
    facts = []
    for model_type in sorted({*named, *folders}, key=str.lower):
        gguf = named.get(model_type, {})
        checked = {"gguf": ", ".join(sorted(set(gguf.values())))} if gguf else {}
        if model_type in folders:
            checked["safetensors"] = "mlx-lm" + (", transformers" if model_type in _TRANSFORMERS else "")
        facts.append(ArchitectureFacts(model_type, tuple(gguf), model_type in folders, checked))
    return facts


def mlx_lm_modules() -> list[str]:
    """Names of mlx-lm's modules that define a model, read without importing any; empty where it is not installed."""
    from importlib.util import find_spec

    spec = find_spec("mlx_lm")
    if spec is None or spec.origin is None:
        return []
    folder = os.path.join(os.path.dirname(spec.origin), "models")
    found = []
    for file in os.listdir(folder):
        if file.endswith(".py"):
            with open(os.path.join(folder, file), encoding="utf-8") as text:
                if "\nclass Model(" in text.read():
                    found.append(file.removesuffix(".py"))
    return sorted(found)
