"""Writes a tiny model as a GGUF file or a Hugging Face folder."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.factories import ggml
from tests.factories.layout import gguf_tensors
from tests.factories.metadata import ARCHITECTURE, add_metadata
from tests.factories.tiny import TinyModel, Weights
from tests.factories.vocabulary import CHAT_TEMPLATE, tokenizer_json

Types = str | Mapping[str, str] | Callable[[str, tuple[int, ...]], str]
Stored = dict[str, tuple[str, tuple[int, ...], NDArray[Any]]]


def chosen_type(types: Types, name: str, shape: tuple[int, ...]) -> str:
    """The ggml type of a GGUF tensor: what `types` says for matrices, f32 for what llama.cpp keeps in f32."""
    if len(shape) == 1 or not name.endswith(".weight") or "ffn_gate_inp" in name or "_norm" in name:
        return "f32"
    if callable(types):
        return types(name, shape)
    if isinstance(types, str):
        return types
    for pattern, kind in types.items():  # the first pattern that fits wins
        if fnmatch.fnmatch(name, pattern):
            return kind
    return "f32"


def stored_tensors(model: TinyModel, types: Types) -> Stored:
    """GGUF name -> (type, logical shape, uint8 bytes `[..., row bytes]`), `.scale` tensors of nvfp4 included."""
    out = {}
    for name, w in gguf_tensors(model).items():
        kind = chosen_type(types, name, w.shape)
        if kind == "nvfp4" and name != "token_embd.weight":  # llama.cpp reads no scale of the embedding
            scale = _tensor_scale(w)
            w = w / scale.reshape(-1, *[1] * (w.ndim - 1)) if w.ndim == 3 else w / scale
            out[name.removesuffix("weight") + "scale"] = ("f32", scale.shape, ggml.quantize(scale, "f32"))
        out[name] = (kind, w.shape, ggml.quantize(w, kind))
    return out


def _tensor_scale(w: NDArray[np.float32]) -> NDArray[np.float32]:
    """NVFP4's second scale, one per matrix: brings the largest weight to 6 * 448, the top of E2M1 x UE4M3."""
    peak = np.abs(w).reshape(w.shape[0] if w.ndim == 3 else 1, -1).max(axis=1)
    return (peak / np.float32(6 * 448)).astype(np.float32)


def decoded(stored: Stored) -> Weights:
    """GGUF name -> float32: what ggml itself makes of the stored bytes (nvfp4 scales multiplied in)."""
    out = {}
    for name, (kind, shape, data) in stored.items():
        if name.endswith(".scale"):
            continue
        w = ggml.dequantize(data, kind).reshape(shape)
        if (scale_name := name.removesuffix("weight") + "scale") in stored:
            scale = stored[scale_name][2].view(np.float32).ravel()
            w = w * (scale.reshape(-1, 1, 1) if w.ndim == 3 else scale)
        out[name] = w
    return out


def decoded_tensors(model: TinyModel, types: Types) -> Weights:
    """`decoded` of the tensors `write_gguf` stores."""
    return decoded(stored_tensors(model, types))


def write_gguf(model: TinyModel, path: Path | str, types: Types = "f32") -> Path:
    """Write `model` as GGUF, matrices in the ggml types that `types` names (one, pattern -> type, or a function)."""
    return _write_stored(model, path, stored_tensors(model, types))


def write_gguf_pair(model: TinyModel, folder: Path, types: Types) -> tuple[Path, Path]:
    """The packed file, and a float32 file of the values ggml itself decodes from it.

    Run by llama.cpp, the second is the exact reference of the first: llama.cpp multiplies packed weights with
    activations rounded to 8 bits (16 for f16 and bf16), float32 weights with float32 activations.
    """
    stored = stored_tensors(model, types)
    floats = {name: ("f32", w.shape, ggml.quantize(w, "f32")) for name, w in decoded(stored).items()}
    return (
        _write_stored(model, folder / "packed.gguf", stored),
        _write_stored(model, folder / "decoded.gguf", floats),
    )


def _write_stored(model: TinyModel, path: Path | str, stored: Stored) -> Path:
    import gguf

    writer = gguf.GGUFWriter(str(path), ARCHITECTURE[model.config["model_type"]])
    add_metadata(writer, model)
    writer.add_quantization_version(2)
    for name, (kind, shape, data) in stored.items():
        # int8 keeps gguf-py from looking the type up: it does not know q2_0
        writer.add_tensor(name, data.view(np.int8), raw_shape=shape, raw_dtype=ggml.TYPES[kind][0])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return Path(path)


def write_hf(model: TinyModel, folder: Path | str, dtype: str = "float32", *, shards: int = 1) -> Path:
    """Write `model` as a Hugging Face folder; `dtype` is float32, float16 or bfloat16; `shards` > 1 adds an index."""
    folder = start_folder(model, folder, {"torch_dtype": dtype})
    save_weights(folder, _as(model.weights, dtype), shards)
    return folder


def _as(weights: Mapping[str, NDArray[Any]], dtype: str) -> dict[str, NDArray[Any]]:
    if dtype == "bfloat16":
        from ml_dtypes import bfloat16 as kind
    else:
        kind = np.dtype(dtype)
    return {name: np.ascontiguousarray(w.astype(kind)) for name, w in weights.items()}


def save_weights(folder: Path, weights: Mapping[str, NDArray[Any]], shards: int = 1) -> None:
    """model.safetensors, or `shards` files with model.safetensors.index.json."""
    from safetensors.numpy import save_file

    if shards == 1:
        save_file(dict(weights), folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, where = sorted(weights), {}
    for i in range(shards):
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        part = names[i::shards]
        save_file({n: weights[n] for n in part}, folder / file, metadata={"format": "pt"})
        where.update(dict.fromkeys(part, file))
    total = sum(w.nbytes for w in weights.values())
    index = {"metadata": {"total_size": total}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def start_folder(model: TinyModel, folder: Path | str, changes: Mapping[str, Any]) -> Path:
    """A folder with config (with `changes`), generation config and tokenizer; the weights are the caller's."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    v = model.tokens
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "add_bos_token": v.kind == "spm",
        "chat_template": CHAT_TEMPLATE,
    }
    for name, content in (
        ("config.json", {**model.config, **changes}),
        ("generation_config.json", {"bos_token_id": 1, "eos_token_id": 2}),
        ("tokenizer.json", tokenizer_json(v)),
        ("tokenizer_config.json", tokenizer_config),
    ):
        (folder / name).write_text(json.dumps(content, indent=1))
    return folder
