"""Random damage to every fixture of bitsandbytes, HQQ, quanto, torchao, BitNet, metal, AQLM, VPTQ, SpQR, HIGGS, QuIP#.

What is taken away, cut, cast, reshaped, emptied or overwritten either decodes to some weights or is a CheckpointError;
nothing else ever comes out.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError
from tests.packed.fixtures import NAME, variants
from tests.packed.rawfile import save

FILES = ("bitsandbytes", "hqq", "codebooks", "quanto_torchao", "spqr", "higgs", "ct_sparse", "quip")
SIZES = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
TRIALS = 8


def damaged(array: np.ndarray, kind: int, chance: random.Random) -> np.ndarray | None:
    if kind == 0:
        return None
    if kind == 1:
        return array[..., : max(array.shape[-1] - 1, 0)] if array.ndim else array.reshape(1)
    if kind == 2:
        return np.zeros(array.shape, np.int64)
    if kind == 3:
        return array.reshape(-1)
    if kind == 4:
        return array[None]
    if kind == 5:
        raw = bytearray(array.tobytes())
        for _ in range(3 if raw else 0):
            raw[chance.randrange(len(raw))] = chance.randrange(256)
        return np.frombuffer(bytes(raw), array.dtype).reshape(array.shape)
    return np.zeros((0, *array.shape[1:]), array.dtype) if array.ndim else array


def use(folder: Path) -> None:
    with np.errstate(all="ignore"), open_checkpoint(folder) as checkpoint:
        t = checkpoint[f"{NAME}.weight"]
        t.dequantize()
        if len(t.shape) == 2:
            t.rows(slice(1, 3)).dequantize()
            if t.format.has_native(t):
                t.format.to_native(t)


@pytest.mark.parametrize("file", FILES)
def test_damage_is_weights_or_a_checkpoint_error(tmp_path: Path, file: str) -> None:
    chance, refused = random.Random(file), 0
    found = variants(f"{file}.safetensors")
    for name, variant in found.items():
        config = dict(variant.config or {})
        header = config.pop("header", None)
        config.pop("float8", None)  # those arrays stay bytes: one more lie
        for _ in range(TRIALS):
            parts = {n: a for n, a in variant.parts.items() if n != "weights"}  # rows to compare with
            key = chance.choice(sorted(parts))
            changed = damaged(parts.pop(key), chance.randrange(7), chance)
            parts |= {} if changed is None else {key: changed}
            entry = {f"{NAME}.weight": header} if header else None
            save(tmp_path / "model.safetensors", {f"{NAME}.{n}": a for n, a in parts.items()}, entry)
            said = {"model_type": "llama"} | ({"quantization_config": config} if config else {})
            if file == "quip":
                said = {"model_type": "llama", **SIZES, "quip_params": config}
            (tmp_path / "config.json").write_text(json.dumps(said))
            try:
                use(tmp_path)
            except CheckpointError as error:
                refused += 1
                assert str(tmp_path) in str(error), name
            except Exception as error:
                if type(error).__name__ != "NotFoundError":  # the one array that made it a matrix is gone
                    raise AssertionError(f"{name}: {key}") from error
    assert refused > len(found)
