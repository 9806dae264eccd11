"""Every `tokenizer.ggml.pre` name against llama.cpp, on a vocabulary whose merges cross every word boundary.

Merges learned without splitting join words, so any other split gives other ids. Names listed in `OWN` follow the
model's tokenizer.json where llama.cpp's regex engine cannot (Unicode letter cases, combining marks, U+3000).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unicodedata import category

import gguf
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from localq.generate.pretokenizers import SPLITS
from localq.generate.tokenizer_gguf import tokenizer_from_gguf
from tests.generate.llama_vocab import LlamaVocab
from tests.generate.texts import LINES, TEXT

OWN = {
    "tekken": "marks are letters of the original",
    "gpt-4o": "marks are letters of the original",
    "llama4": "as gpt-4o",
    "kanana2": "as gpt-4o",
    "talkie": "as gpt-4o",
    "minimax-m2": "as gpt-4o",
    "youtu": "llama.cpp does not know Lu from Ll",
    "kimi-k2": "llama.cpp does not know Lu from Ll",
    "tiny_aya": "llama.cpp does not know Lu from Ll",
    "cohere2moe": "llama.cpp does not know Lu from Ll",
    "deepseek-llm": "llama.cpp hides U+3000 from the CJK range",
    "deepseek-coder": "llama.cpp hides U+3000 from the CJK range",
}


@pytest.fixture(scope="module")
def learned() -> tuple[list[str], list[str]]:
    """Tokens and merges learned without any splitting."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False, use_regex=False)
    trainer = trainers.BpeTrainer(
        vocab_size=3000, min_frequency=2, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    windows = [TEXT[i : i + 23] for i in range(0, len(TEXT), 7)]
    tokenizer.train_from_iterator([*windows, TEXT, TEXT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return sorted(model["vocab"], key=model["vocab"].get), [" ".join(m) for m in model["merges"]]


def metadata(pre: str, learned: tuple[list[str], list[str]]) -> dict[str, Any]:
    values = {"model": "gpt2", "pre": pre, "tokens": learned[0], "merges": learned[1]}
    values |= {"bos_token_id": 0, "eos_token_id": 1}
    return {f"tokenizer.ggml.{k}": v for k, v in values.items()}


def write(path: Path, pre: str, learned: tuple[list[str], list[str]]) -> None:
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(8)
    writer.add_block_count(1)
    writer.add_feed_forward_length(8)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(learned[0])
    writer.add_token_types([1] * len(learned[0]))
    writer.add_token_merges(learned[1])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_uint32("tokenizer.ggml.seperator_token_id", 1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def differing(pre: str, learned: tuple[list[str], list[str]], path: Path) -> list[str]:
    """Lines llama.cpp splits otherwise."""
    write(path, pre, learned)
    llama = LlamaVocab(path)
    ours = tokenizer_from_gguf(metadata(pre, learned))
    lines = [*LINES, TEXT]
    found = [t for t in lines if ours.encode(t, add_special=False, parse_special=False) != llama.encode(t)]
    llama.close()
    return found


@pytest.mark.parametrize("pre", sorted(set(SPLITS) - set(OWN)))
def test_as_llama_cpp(pre: str, learned: tuple[list[str], list[str]], tmp_path: Path) -> None:
    assert differing(pre, learned, tmp_path / "vocab.gguf") == []


@pytest.mark.parametrize("pre", sorted(OWN))
def test_as_the_model_where_llama_cpp_differs(pre: str, learned: tuple[list[str], list[str]], tmp_path: Path) -> None:
    """They differ, as said, and on lines that have none of the reasons they agree."""
    found = differing(pre, learned, tmp_path / "vocab.gguf")
    assert TEXT in found
    if "Lu" not in OWN[pre]:
        assert [t for t in found if t != TEXT and not any(c == "\u3000" or category(c)[0] == "M" for c in t)] == []


def test_as_transformers() -> None:
    """The 23 names transformers has an expression for."""
    mapping = pytest.importorskip("transformers.integrations.gguf.gguf_tokenizer_mapping")
    for name, pattern in mapping.GGUF_PRE_TOKENIZER_SPLITS.items():
        theirs = pre_tokenizers.Split(Regex(pattern), "isolated")
        ours = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(p), "isolated") for p in SPLITS[name].patterns])
        assert ours.pre_tokenize_str(TEXT) == theirs.pre_tokenize_str(TEXT), name
