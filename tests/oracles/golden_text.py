"""Logits of transformers for tiny models where llama.cpp cannot be the oracle, stored like those of golden.py.

llama.cpp gives Mistral no window.
Gemma 3n's shared keys need 21 layers in llama.cpp, over which its float16 table of GELU grows past any bound; Llama 4's
chunks are 8192 tokens there. Made by `python -m tests.oracles.golden_text` in an environment with torch and
transformers; made last with torch 2.13.0 and transformers 5.23.0, float32, eager attention.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.factories import TinyModel, gemmas, llamas, more
from tests.oracles.golden import IDS, KEPT, fingerprint

PATH = Path(__file__).with_name("golden_text.npz")
CASES = {"gemma3n": gemmas.SHARED, "llama4": llamas.CHUNKED, "mistral": llamas.WINDOWED}


def make(name: str) -> TinyModel:
    """The tiny model of a case."""
    return more.make(name, CASES[name])


def golden(name: str, model: TinyModel) -> NDArray[np.float32]:
    """transformers' logits `[kept positions, vocab]`; fails when the weights have changed."""
    with np.load(PATH) as arrays:
        assert np.array_equal(arrays[f"{name}.sha256"], fingerprint(model)), "run `python -m tests.oracles.golden_text`"
        return np.array(arrays[name])


def _theirs(name: str, model: TinyModel) -> Any:
    import torch
    from transformers import (
        Gemma3nForCausalLM,
        Gemma3nTextConfig,
        Llama4ForCausalLM,
        Llama4TextConfig,
        MistralConfig,
        MistralForCausalLM,
    )

    text = dict(model.config.get("text_config", model.config))
    if name == "gemma3n":
        ropes = {"full_attention": text.pop("rope_theta"), "sliding_attention": text.pop("rope_local_base_freq")}
        text["rope_parameters"] = {kind: {"rope_type": "default", "rope_theta": t} for kind, t in ropes.items()}
        theirs, prefix = Gemma3nForCausalLM(Gemma3nTextConfig(**text)), "model.language_model."
    elif name == "mistral":
        theirs, prefix = MistralForCausalLM(MistralConfig(**text)), "model."
    else:
        text["rope_parameters"] = {"rope_type": "default", "rope_theta": text.pop("rope_theta")}
        theirs, prefix = Llama4ForCausalLM(Llama4TextConfig(**text)), "language_model.model."
    weights = {n.replace(prefix, "model.").removeprefix("language_model."): w for n, w in model.weights.items()}
    missing, _ = theirs.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()}, strict=False)
    assert set(missing) <= {"lm_head.weight"}, missing
    theirs.set_attn_implementation("eager")
    return theirs.float().eval()


def _make() -> None:
    import torch

    out: dict[str, NDArray[np.generic]] = {}
    for name in CASES:
        model = make(name)
        theirs = _theirs(name, model)
        theirs.tie_weights()
        with torch.no_grad():
            logits = theirs(torch.tensor([IDS])).logits[0].numpy()
        out[name], out[f"{name}.sha256"] = logits[KEPT].astype(np.float32), fingerprint(model)
    np.savez_compressed(PATH, **out)
    print(f"{PATH}: {PATH.stat().st_size} bytes")


if __name__ == "__main__":
    _make()
