"""A real small model, read from its Hugging Face folder, in the same shape as the tiny random ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.factories.tiny import TinyModel, Weights
from tests.factories.vocabulary import CONTROL, NORMAL, Vocabulary


def read_hf(folder: Path) -> TinyModel:
    """Config, float32 weights and byte-level BPE vocabulary of a folder with one safetensors file."""
    config = json.loads((folder / "config.json").read_text())
    return TinyModel(folder.name, config, _weights(folder / "model.safetensors"), _vocabulary(folder, config))


def _weights(path: Path) -> Weights:
    """safetensors' layout read by hand: numpy has no bfloat16, whose bits are the upper half of a float32's."""
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header: dict[str, Any] = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    out: Weights = {}
    for name, entry in header.items():
        first, last = entry["data_offsets"]
        raw = data[8 + size + first : 8 + size + last]
        if entry["dtype"] == "BF16":
            w = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        else:
            w = np.frombuffer(raw, {"F16": np.float16, "F32": np.float32}[entry["dtype"]]).astype(np.float32)
        out[name] = w.reshape(entry["shape"])
    return out


def _vocabulary(folder: Path, config: dict[str, Any]) -> Vocabulary:
    content = json.loads((folder / "tokenizer.json").read_text())
    by_id = {i: token for token, i in content["model"]["vocab"].items()}
    added = {entry["id"]: entry["content"] for entry in content["added_tokens"]}
    tokens = [added.get(i, by_id.get(i, f"[PAD{i}]")) for i in range(config["vocab_size"])]
    types = [CONTROL if i in added else NORMAL for i in range(config["vocab_size"])]
    merges = [tuple(m) if isinstance(m, list) else tuple(m.split(" ")) for m in content["model"]["merges"]]
    eos = config["eos_token_id"]
    return Vocabulary("bpe", tokens, types, merges, [], config["bos_token_id"], eos if isinstance(eos, int) else eos[0])
