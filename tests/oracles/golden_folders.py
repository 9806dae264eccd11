"""Logits of transformers for folders that transformers itself writes: its names of arrays, its spelling of configs.

    python -m tools.keys_transformers dump CONFIGS          in localq's environment: a tiny config per architecture
    python -m tests.oracles.golden_folders CONFIGS          in one with torch and transformers

made last with torch 2.13.0 and transformers 5.23.0, float32, eager attention. Kept are each folder's config, the names
and shapes of its arrays and a part of the logits; the weights are drawn again from the names.
"""

from __future__ import annotations

import json
import lzma
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

PATH = Path(__file__).with_name("golden_folders.json.xz")
IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14, 15, 16]
# Whose tiny config, made for mlx-lm's class, means another model to transformers; or a model localq refuses
LEFT_OUT = set(
    """bailing_hybrid ernie4_5_moe gemma3n gemma4_text gpt_bigcode internlm3 kimi_linear llama4_text longcat_flash
    mimo_v2_flash minicpm3 nanochat olmo3 olmo_hybrid phimoe recurrent_gemma youtu_llm""".split()
)
LARGEST = 4_000_000  # weights of a tiny model
STEP = 5  # every fifth of the last token's logits is kept


def drawn(name: str, shape: list[int]) -> np.ndarray:
    """Weights that anybody draws again: norms near one, everything else of a size that keeps activations in bounds."""
    values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)
    if len(shape) == 1:
        return (1 if "norm" in name and "bias" not in name else 0) + 0.1 * values
    return values * np.float32(shape[-1] ** -0.5)


def write(folder: Path, config: dict[str, Any], arrays: dict[str, list[int]]) -> Path:
    """The folder, as transformers' `save_pretrained` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: drawn(name, shape) for name, shape in arrays.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def cases() -> dict[str, dict[str, Any]]:
    """By model_type: `config`, `arrays` (name -> shape), `logits`."""
    found: dict[str, dict[str, Any]] = json.loads(lzma.decompress(PATH.read_bytes()))
    return found


def _make(configs: Path) -> None:
    import torch
    import transformers
    from safetensors import safe_open

    from tools.keys_transformers import ALONE_STANDING, NAMES, TEXTS, as_transformers_has_it

    transformers.logging.set_verbosity_error()
    found: dict[str, Any] = {}
    for name, config in json.loads(configs.read_text()).items():
        if name in LEFT_OUT:
            continue
        kind = TEXTS.get(name, NAMES.get(name, name))
        try:
            whole = transformers.AutoConfig.for_model(kind, **as_transformers_has_it(name, config))
            build = transformers.AutoModelForCausalLM
            if kind in ALONE_STANDING:
                raise ValueError("no class of its own")
            with torch.device("meta"):
                size = sum(one.numel() for one in build.from_config(whole).parameters())
            if size > LARGEST:
                raise ValueError(f"{size} weights: not all of its sizes are set")
            with tempfile.TemporaryDirectory() as folder:
                build.from_config(whole).save_pretrained(folder)
                with safe_open(f"{folder}/model.safetensors", "np") as file:
                    arrays = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}
                said = json.loads(Path(folder, "config.json").read_text())
                write(Path(folder), said, arrays)
                model, told = build.from_pretrained(
                    folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
                )
                assert not told["missing_keys"] and not told["unexpected_keys"], told
                with torch.no_grad():
                    logits = model.eval()(torch.tensor([IDS]), use_cache=False).logits[0, -1].numpy()
            assert np.isfinite(logits).all()
        except Exception as error:  # read by whoever makes the file
            print(f"{name}: {type(error).__name__} {' '.join(str(error).split())[:150]}")
            continue
        found[name] = {"config": said, "arrays": arrays, "logits": [float(f"{v:.8g}") for v in logits[::STEP]]}
        found[name]["range"] = float(np.ptp(logits))
    PATH.write_bytes(lzma.compress(json.dumps(found).encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{PATH}: {PATH.stat().st_size} bytes, {len(found)} models")


if __name__ == "__main__":
    _make(Path(sys.argv[1]))
