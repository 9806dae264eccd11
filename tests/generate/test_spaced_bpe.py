"""Byte-pair encoding over text itself (Gemma 4, Sarvam) against llama.cpp, on a vocabulary learned here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from localq.generate.tokenizer_gguf import tokenizer_from_gguf
from tests.generate.llama_vocab import LlamaVocab
from tests.generate.texts import LINES, TEXT

SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>"]
BREAKS = ["\n" * n for n in range(1, 6)]


@pytest.fixture(scope="module")
def learned() -> dict[str, Any]:
    """Keys of a vocabulary that lacks most of the text's rare characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "\u2581")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[^\n]+|\n+"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=700, min_frequency=2, show_progress=False, limit_alphabet=120)
    windows = [TEXT[i : i + 23] for i in range(0, len(TEXT), 7)]
    tokenizer.train_from_iterator([*windows, TEXT, TEXT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    words = [t for t in sorted(model["vocab"], key=model["vocab"].get) if "\n" not in t]
    tokens = [*SPECIAL, *(f"<0x{b:02X}>" for b in range(256)), *BREAKS, *words]
    return {
        "tokens": tokens,
        "token_type": [3, 3, 3, 2, *[6] * 256, *[1] * (len(tokens) - 260)],
        "merges": [" ".join(m) for m in model["merges"] if "\n" not in "".join(m)],
        "bos_token_id": 2,
        "eos_token_id": 1,
        "unknown_token_id": 3,
        "padding_token_id": 0,
    }


def opened(path: Path, model: str, pre: str | None, learned: dict[str, Any]) -> tuple[Any, LlamaVocab]:
    writer = gguf.GGUFWriter(path, "llama")
    for key, value in {"context_length": 64, "embedding_length": 8, "block_count": 1, "feed_forward_length": 8}.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    keys = {"model": model, **({"pre": pre} if pre else {})}
    for key, text in keys.items():
        writer.add_string(f"tokenizer.ggml.{key}", text)
    for key, value in learned.items():
        if isinstance(value, list):
            writer.add_array(f"tokenizer.ggml.{key}", value)
        else:
            writer.add_uint32(f"tokenizer.ggml.{key}", value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in {**learned, **keys}.items()}), LlamaVocab(path)


@pytest.mark.parametrize(("model", "pre"), [("gemma4", None), ("gpt2", "gemma4"), ("gpt2", "sarvam-moe")])
def test_as_llama_cpp(model: str, pre: str | None, learned: dict[str, Any], tmp_path: Path) -> None:
    ours, llama = opened(tmp_path / "vocab.gguf", model, pre, learned)
    lines = [*LINES, "a\n\nb\n\n\n\n\nc", "  two  spaces ", "x\ny"]
    for text in lines if pre == "sarvam-moe" else [*lines, TEXT]:
        found = ours.encode(text, add_special=False, parse_special=False)
        if pre != "sarvam-moe" or "\n\n" not in text:  # llama.cpp takes runs of line breaks for Gemma alone
            assert found == llama.encode(text), text
        assert ours.decode(found) == text
    if pre != "sarvam-moe":
        assert ours.encode("x") == llama.encode("x", add_special=True) and ours.encode("x")[0] == 2
    assert ours.eos_ids == llama.ends(ours.size)
    llama.close()


def test_control_tokens_in_text(learned: dict[str, Any]) -> None:
    ours = tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in {**learned, "model": "gemma4"}.items()})
    assert ours.encode("<eos>", add_special=False) == [1]
    assert 1 not in ours.encode("<eos>", add_special=False, parse_special=False)
