"""Tiny random models of the architectures beyond tiny.py: a config, weights, and the GGUF that llama.cpp's converter
would make of them. Names come from gguf-py's own map, shapes from mlx-lm's modules; nothing here imports localq.

A `Case` (in mla.py, other.py) holds only what an architecture has of its own.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tests.factories import ggml
from tests.factories.files import start_folder
from tests.factories.metadata import add_vocabulary
from tests.factories.tiny import TinyModel, Weights

Array = NDArray[np.float32]
Config = dict[str, Any]

BASE: Config = {
    "hidden_size": 256,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 320,
    "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "attention_bias": False,
    "torch_dtype": "float32",
}


def _no_keys(config: Config) -> dict[str, Any]:
    return {}


def _as_it_is(config: Config, name: str, w: Array) -> Iterable[tuple[str, Array]]:
    return [(name, w)]


def _no_tensors(config: Config) -> Weights:
    return {}


class Case(NamedTuple):
    """What one architecture has of its own.

    Attributes:
        gguf: `general.architecture`.
        config: differences from BASE; `model_type` among them. None takes a key away.
        keys: GGUF keys (without the architecture) beyond those every converter writes.
        change: a Hugging Face tensor as the converter hands it on: other names, row orders, parts.
        names: Hugging Face name without suffix (`{bid}` for the layer) -> GGUF's, where gguf-py has no entry.
        hugging_face: mlx-lm's parameter as the published checkpoints name and shape it.
        extra: tensors the converter makes up (rope factors).
        shown: a published tensor as localq names it where GGUF and mlx-lm agree against Hugging Face.
        bound: largest difference from llama.cpp, as a share of the logits' range.
        vocabulary: kind of the small vocabulary.
        llama_cpp: it can run the tiny model; where it cannot, plain mlx-lm on the folder is the oracle.
    """

    gguf: str
    config: Config
    keys: Callable[[Config], dict[str, Any]] = _no_keys
    change: Callable[[Config, str, Array], Iterable[tuple[str, Array]]] = _as_it_is
    names: dict[str, str] = {}
    hugging_face: Callable[[Config, str, Array], Iterable[tuple[str, Array]]] = _as_it_is
    extra: Callable[[Config], Weights] = _no_tensors
    bound: float = 2e-3
    vocabulary: str = "bpe"
    llama_cpp: bool = True
    shown: Callable[[Config, str, Array], Iterable[tuple[str, Array]]] = _as_it_is


def make(name: str, case: Case, seed: int = 0, **changes: Any) -> TinyModel:
    """The tiny model of a case: the same for the same seed."""
    config = {k: v for k, v in {**BASE, **case.config, **changes}.items() if v is not _GONE}
    config.update({"bos_token_id": 1, "eos_token_id": 2})
    rng = np.random.default_rng([seed, *name.encode()])
    weights: Weights = {}
    for path, shape in _shapes(config):
        for hf, w in _split(config, path, _draw(rng, path, shape)):
            weights.update(case.hugging_face(config, hf, w))
    return TinyModel(name, config, weights, case.vocabulary, seed)


_GONE = object()
GONE: Any = _GONE


_SAME = {"hunyuan_v1_moe": "hunyuan", "olmo": "llama"}  # types whose shapes another module of mlx-lm has


def _shapes(config: Config) -> Iterator[tuple[str, tuple[int, ...]]]:
    from mlx.utils import tree_flatten
    from mlx_lm.utils import _get_classes

    model_class, args = _get_classes({**config, "model_type": _SAME.get(config["model_type"], config["model_type"])})
    if config["model_type"] == "deepseek_v2" and not config.get("rope_scaling"):
        config = {**config, "rope_scaling": {"factor": 1.0}}  # mlx-lm takes the key for given
    model = model_class(args.from_dict(dict(config)))
    yield from ((path, value.shape) for path, value in tree_flatten(model.parameters()))


def _draw(rng: np.random.Generator, path: str, shape: tuple[int, ...]) -> Array:
    w = rng.standard_normal(shape, dtype=np.float32)
    if len(shape) <= 1:
        rounded = np.round(np.float32(102.4) * w) / np.float32(1024)  # so that gemma's "+ 1" loses nothing
        return np.asarray(rounded + np.float32(path.endswith("weight")), np.float32)
    if re.search(r"embed_tokens|wte|wpe|embed_in|word_embed|tok_embeddings", path):
        return np.float32(0.3) * w
    gain = 2.0 if re.search(r"(q|k|q_b|qkv|gate|router)(_proj)?\.weight$", path) else 1.0
    return np.float32(gain / shape[-1] ** 0.5) * w


_STACKED = ("granitemoe", "granitemoehybrid", "qwen3_5_moe", "step3p5")  # published as stacks too


def _split(config: Config, path: str, w: Array) -> Iterator[tuple[str, Array]]:
    """mlx-lm's stacks as the matrices they are made of in published checkpoints."""
    if ".switch_mlp." in path and config["model_type"] not in _STACKED:
        for e in range(w.shape[0]):
            yield path.replace(".switch_mlp.", f".experts.{e}."), w[e]
    else:
        yield path, w


def tensors(model: TinyModel, case: Case) -> Weights:
    """GGUF name -> float32 array as the converter stores it."""
    out: Weights = {}
    stacks: dict[str, dict[int, Array]] = {}
    for name, w in model.weights.items():
        for changed, value in case.change(model.config, name, w):
            if m := re.search(r"\.experts\.(\d+)\.", changed):
                stacks.setdefault(changed.replace(m[0], ".experts."), {})[int(m[1])] = value
            else:
                out[_gguf_name(model, case, changed)] = np.ascontiguousarray(value)
    for name, stack in stacks.items():
        out[_gguf_name(model, case, name)] = np.stack([stack[e] for e in range(len(stack))])
    out.update(case.extra(model.config))
    return out


# younger than gguf-py 0.19
_SAME_NAMES = {
    **{"deepseek32": "glm-dsa", "mellum": "qwen3moe", "nanbeige": "llama"},
    **{
        "talkie": "llama",
        "spark2_5": "qwen3",
        "muse-glimmer": "gemma3",
        "laguna": "exaone-moe",
        "bailingmoe3": "exaone-moe",
        "minimax-m3": "minimax-m2",
        "kimi-k3": "kimi-linear",
    },
}


@cache
def _name_map(architecture: str, layers: int) -> Any:
    import gguf

    known = {text: arch for arch, text in gguf.MODEL_ARCH_NAMES.items()}
    arch = known[_SAME_NAMES.get(architecture, architecture)]
    return gguf.get_tensor_name_map(arch, layers)


def _gguf_name(model: TinyModel, case: Case, name: str) -> str:
    m = re.fullmatch(r"(.+?)(\.weight|\.bias)?", name)
    assert m is not None
    stem, suffix = m[1], m[2] or ""
    numbered = re.sub(r"(?<=\.)\d+(?=\.|$)", "{bid}", stem, count=1)
    layer = re.search(r"(?<=\.)\d+(?=\.|$)", stem)
    if numbered in case.names:
        return case.names[numbered].replace("{bid}", layer[0] if layer else "") + suffix
    found = _name_map(case.gguf, model.config.get("num_hidden_layers", 64)).get_name(stem)
    assert found is not None, f"gguf-py has no name for '{stem}' in {case.gguf}"
    bare = found.endswith(("ssm_a", "ssm_d"))
    return found + (suffix or ("" if bare else ".weight"))


def common_keys(config: Config) -> dict[str, Any]:
    """What `TextModel.set_gguf_parameters` (conversion/base.py) writes for every architecture."""
    c = config
    keys: dict[str, Any] = {}
    for key, spellings in _COMMON.items():
        value = next((c[s] for s in spellings if c.get(s) is not None), None)
        if value is not None:
            keys[key] = value
    if c.get("head_dim") is not None:
        keys["attention.key_length"] = keys["attention.value_length"] = c["head_dim"]
    scoring = next((c[s] for s in ("score_function", "scoring_func") if c.get(s)), None)
    if scoring is not None:
        keys["expert_gating_func"] = {"softmax": 1, "sigmoid": 2}[scoring]
    scaling = c.get("rope_scaling") or {}
    if scaling.get("type", scaling.get("rope_type")) in ("yarn", "linear"):
        keys["rope.scaling.type"] = scaling.get("type", scaling.get("rope_type"))
        keys["rope.scaling.factor"] = float(scaling["factor"])
    if keys.get("rope.scaling.type") == "yarn":
        keys["rope.scaling.original_context_length"] = scaling["original_max_position_embeddings"]
        keys["rope.scaling.yarn_beta_fast"] = float(scaling.get("beta_fast", 32))
        keys["rope.scaling.yarn_beta_slow"] = float(scaling.get("beta_slow", 1))
    return keys


_COMMON = {
    "block_count": ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_transformer_layers"),
    "context_length": ("max_position_embeddings", "n_ctx", "n_positions", "max_seq_len", "max_context_length"),
    "embedding_length": ("hidden_size", "n_embd", "d_model", "model_dim"),
    "feed_forward_length": ("intermediate_size", "n_inner", "ffn_dim"),
    "attention.head_count": ("num_attention_heads", "n_head", "n_heads"),
    "attention.head_count_kv": ("num_key_value_heads", "n_kv_heads"),
    "rope.freq_base": ("rope_theta",),
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps", "norm_eps"),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon"),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok", "num_experts_per_token", "moe_k"),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
}


def write(model: TinyModel, case: Case, path: Path, types: Callable[[str, tuple[int, ...]], str] | None = None) -> Path:
    """The model as GGUF; `types` gives the ggml type of each matrix, float32 without it."""
    kinds = {n: _kind(n, w.shape, types) for n, w in tensors(model, case).items()}
    stored = {n: (kinds[n], w.shape, ggml.quantize(w, kinds[n])) for n, w in tensors(model, case).items()}
    return save(model, case, path, stored)


def decoded(stored: dict[str, Any]) -> dict[str, Any]:
    """The same tensors in float32, as ggml itself decodes them."""
    plain = {n: ggml.dequantize(data, kind).reshape(shape) for n, (kind, shape, data) in stored.items()}
    return {n: ("f32", w.shape, ggml.quantize(w, "f32")) for n, w in plain.items()}


def pair(model: TinyModel, case: Case, folder: Path) -> tuple[Path, Path]:
    """A file of several ggml types mixed, and the float32 file of the values ggml decodes from it."""
    weights = tensors(model, case)
    stored = {n: (k := _kind(n, w.shape, mixed), w.shape, ggml.quantize(w, k)) for n, w in weights.items()}
    return save(model, case, folder / "packed.gguf", stored), save(
        model, case, folder / "decoded.gguf", decoded(stored)
    )


def _kind(name: str, shape: tuple[int, ...], types: Callable[[str, tuple[int, ...]], str] | None) -> str:
    plain = len(shape) == 1 or not name.endswith(".weight") or types is None
    parts = ("ffn_gate_inp", "_norm", "position_embd", "rope_", "conv", "indexer.proj", "lerp_fused")
    small = any(part in name for part in parts)
    return "f32" if plain or small or types is None else types(name, shape)


def mixed(name: str, shape: tuple[int, ...]) -> str:
    """A type dealt by name among those a row of this length can have."""
    pool = ("q4_k", "q6_k", "q8_0", "iq4_xs") if shape[-1] % 256 == 0 else ("q8_0", "q5_1", "iq4_nl", "q4_0")
    return "f16" if shape[-1] % 32 else pool[zlib.crc32(name.encode()) % 4]


def save(model: TinyModel, case: Case, path: Path, stored: dict[str, Any]) -> Path:
    """A GGUF file of stored tensors with the model's keys and vocabulary."""
    import gguf

    writer = gguf.GGUFWriter(str(path), case.gguf)
    writer.add_name("tiny")
    for key, value in {**common_keys(model.config), **case.keys(model.config)}.items():
        if value is not None:
            _put(writer, key if key.startswith("xielu.") else f"{case.gguf}.{key}", value)
    add_vocabulary(writer, model.tokens)
    writer.add_quantization_version(2)
    for name, (kind, shape, data) in stored.items():
        writer.add_tensor(name, data.view(np.int8), raw_shape=shape, raw_dtype=ggml.TYPES[kind][0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _put(writer: Any, key: str, value: Any) -> None:
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    else:
        writer.add_array(key, value)


def write_folder(model: TinyModel, folder: Path) -> Path:
    """The model as a Hugging Face folder in float32."""
    from safetensors.numpy import save_file

    start_folder(model, folder, {})
    save_file({n: np.array(w, order="C") for n, w in model.weights.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config))
    return folder
