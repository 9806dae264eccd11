"""Logits of transformers for every tiny model, stored because torch is no part of localq's environment.

Made by `python -m tests.oracles.golden` in an environment with torch and transformers (run from the repository root);
made last with torch 2.13.0 and transformers 5.23.0, float32, eager attention. Every fourth position is kept.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.factories import ARCHS, TinyModel, build, write_hf

PATH = Path(__file__).with_name("golden.npz")
# 24 tokens: longer than the sliding window of 8 that the tiny models with windows have
IDS = [1, *(int(i) for i in np.random.default_rng(7).integers(3, 320, 23))]
KEPT = list(range(2, 24, 4)) + [23]


def fingerprint(model: TinyModel) -> NDArray[np.uint8]:
    """SHA-256 over the weights: a golden array belongs to these and no others."""
    digest = hashlib.sha256()
    for name in sorted(model.weights):
        digest.update(name.encode() + model.weights[name].tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def golden(model: TinyModel) -> NDArray[np.float32]:
    """transformers' logits `[kept positions, vocab]` of `model` on IDS; fails when the weights have changed."""
    with np.load(PATH) as arrays:
        assert np.array_equal(arrays[f"{model.arch}.sha256"], fingerprint(model)), (
            f"the factory's {model.arch} has changed since golden.npz was made: run `python -m tests.oracles.golden`"
        )
        return np.array(arrays[model.arch])


def _make() -> None:
    import torch
    from transformers import AutoModelForCausalLM

    out: dict[str, NDArray[np.generic]] = {}
    for arch in ARCHS:
        model = build(arch)
        with tempfile.TemporaryDirectory() as folder:
            write_hf(model, folder)
            loaded = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
            with torch.no_grad():
                logits = loaded.eval()(torch.tensor([IDS])).logits[0].numpy()
        out[arch], out[f"{arch}.sha256"] = logits[KEPT].astype(np.float32), fingerprint(model)
    np.savez_compressed(PATH, **out)
    print(f"{PATH}: {PATH.stat().st_size} bytes, {len(ARCHS)} models")


if __name__ == "__main__":
    _make()
