"""Keys of configs changed one by one: which ones transformers heeds and localq passes over.

python -m tools.keys_transformers dump FILE         in localq's environment: the tiny configs of every architecture
python tools/keys_transformers.py find FILE FOUND   in an environment with torch: keys that move transformers' logits
python -m tools.keys_transformers check FOUND       in localq's again: those that move nothing here and are not refused

Two environments, because torch is none of localq's. Tried are the keys that transformers' own code of an architecture
reads, with values near those they have; sizes are left alone, for tensors of other shapes are refused anyway. What is
printed is to be read: some keys have another name in the published configs.
"""

from __future__ import annotations

import ast
import copy
import json
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14, 15, 16, 3, 4, 8, 19, 23, 42]
ALONE = set(
    """use_cache output_attentions output_hidden_states return_dict pad_token_id bos_token_id eos_token_id vocab_size
    initializer_range hidden_size num_hidden_layers num_attention_heads num_key_value_heads intermediate_size head_dim
    dtype torch_dtype tie_word_embeddings rope_theta rope_parameters rope_scaling model_type layer_types
    max_position_embeddings""".split()
)
NAMES = {"youtu_llm": "youtu", "minimax": "minimax_m2"}  # transformers' name where it is another
TEXTS = {"gemma3n": "gemma3n_text", "muse_glimmer": "muse_glimmer_text", "muse_spark": "muse_spark_text"}
ALONE_STANDING = {
    "mistral4": "Mistral4ForCausalLM",
    "muse_glimmer_text": "MuseGlimmerTextModel",
    "muse_spark_text": "MuseSparkTextModel",
}
STRANGE: dict[str, dict[str, Any]] = {  # keys of the tiny configs that transformers understands in another way
    "exaone4": {"sliding_window_pattern": 4},
    "glm4_moe_lite": {"partial_rotary_factor": 1.0},
    "longcat_flash": {"head_dim": 32, "num_hidden_layers": 4},
    "nemotron_h": {"layer_types": None},
}
ACTIVATIONS = ("silu", "gelu", "gelu_new", "gelu_pytorch_tanh", "relu2", "gelu_fast")


def dump(file: Path) -> None:
    from tests.factories.every import config, model_types

    file.write_text(json.dumps({name: config(name) for name in model_types()}))


def read_keys(path: Path) -> set[str]:
    """Attributes of a `config` that a module's code asks for."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            holder = node.value
            name = holder.id if isinstance(holder, ast.Name) else getattr(holder, "attr", "")
            if name in ("config", "text_config"):
                found.add(node.attr)
    return found


def others(value: Any) -> list[Any]:
    """Values to try instead."""
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, str):
        return ["relu"] if value in ACTIVATIONS else []
    if isinstance(value, int):
        return [value + 1, max(value // 2, 1)]
    return [2 * value + 0.1] if isinstance(value, float) else [True, 3, 0.5] if value is None else []


def find(file: Path, found: Path) -> None:
    import transformers

    folder = Path(transformers.__file__).parent / "models"
    moved: dict[str, list[tuple[str, Any]]] = {}
    for name, config in json.loads(file.read_text()).items():
        kind = TEXTS.get(name, NAMES.get(name, name))
        bare = kind.removesuffix("_text")
        code = folder / bare / f"modeling_{bare}.py"
        text = as_transformers_has_it(name, config)
        if code.exists():
            try:
                moved[name] = list(_moving(kind, text, read_keys(code)))
            except Exception as error:  # a config that this version does not take
                print(f"{name}: not tried, {type(error).__name__}: {str(error)[:100]}", file=sys.stderr)
    found.write_text(json.dumps(moved))


def as_transformers_has_it(name: str, config: dict[str, Any]) -> dict[str, Any]:
    """A tiny config, as far as transformers does not take mlx-lm's reading of it."""
    text = {**config.get("text_config", config), "pad_token_id": None}
    if "kv_lora_rank" in text:  # it repeats the heads of MLA once more where their numbers differ
        text["num_key_value_heads"] = text["num_attention_heads"]
    changed = {**text, **STRANGE.get(name, {}), "model_type": None}
    return {key: value for key, value in changed.items() if value is not None or text.get(key, "") is None}


def _moving(kind: str, config: dict[str, Any], keys: set[str]) -> Any:
    held, shapes, right = _logits(kind, config)
    for key in sorted(keys & set(held) - ALONE):
        for value in others(held[key]):
            try:
                _, changed, other = _logits(kind, {**config, key: value})
            except Exception:  # no value for it
                continue
            if changed == shapes and not (other - right).abs().max() <= 1e-5 * right.abs().max():
                yield key, value


def _logits(kind: str, config: dict[str, Any]) -> tuple[dict[str, Any], Any, Any]:
    """The whole config, shapes, and logits of weights drawn for these: the same ones as long as the shapes are."""
    torch: Any = import_module("torch")
    from transformers import AutoConfig, AutoModelForCausalLM

    whole = AutoConfig.for_model(kind, **copy.deepcopy(config))
    whole._attn_implementation = "eager"
    build: Any = AutoModelForCausalLM.from_config
    if kind in ALONE_STANDING:  # not among the classes that AutoModelForCausalLM knows
        bare = kind.removesuffix("_text")
        build = getattr(import_module(f"transformers.models.{bare}.modeling_{bare}"), ALONE_STANDING[kind])
    model = build(whole).float().eval()
    drawn = torch.Generator().manual_seed(1)
    for weight in model.parameters():
        weight.data = 0.15 * torch.randn(weight.shape, generator=drawn)
    with torch.no_grad():
        shapes = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
        return whole.to_dict(), shapes, model(torch.tensor([IDS]), use_cache=False)[0]


def check(found: Path) -> int:
    import mlx.core as mx
    import numpy as np

    from localq.checkpoints import open_checkpoint
    from localq.errors import LocalqError
    from localq.models.loader import load_model
    from tests.factories.every import config
    from tests.models.folders import write_random

    def logits(folder: Path) -> Any:
        with open_checkpoint(folder) as checkpoint:
            model, _ = load_model(checkpoint, mx.float32)
        return np.nan_to_num(np.array(model(mx.array([IDS]))[0]))

    passed = 0
    for name, keys in json.loads(found.read_text()).items():
        with tempfile.TemporaryDirectory() as folder:
            file = write_random(Path(folder) / "m", config(name)) / "config.json"
            try:
                own, right = json.loads(file.read_text()), logits(file.parent)
            except LocalqError as error:  # muse_spark, away from a Mac
                print(f"{name}: not tried, {error}")
                continue
            for key, value in keys:
                inner = own.get("text_config", own)
                nested = {"text_config": {**inner, key: value}} if "text_config" in own else {}
                file.write_text(json.dumps({**own, key: value, **nested}))
                try:
                    same = np.array_equal(logits(file.parent), right)
                except LocalqError:
                    continue
                passed += same
                if same:
                    print(f"{name}: {key} = {value!r} changes nothing; the tiny config has {inner.get(key)!r}")
    print(f"{passed} of {sum(map(len, json.loads(found.read_text()).values()))} changes are passed over")
    return 0


if __name__ == "__main__":
    verbs: dict[str, Any] = {"dump": dump, "find": find, "check": check}
    sys.exit(verbs[sys.argv[1]](*map(Path, sys.argv[2:])))
