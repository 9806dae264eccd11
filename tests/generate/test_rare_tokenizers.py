"""The rarer tokenizer models of GGUF against llama.cpp: RWKV's, PLaMo's, whitespace words, HybridDNA."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import gguf
import pytest
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from localq.errors import CheckpointError, UnsupportedError
from localq.generate.longest_match import world_file
from localq.generate.tokenizer_files import tokenizer_from_files
from localq.generate.tokenizer_gguf import tokenizer_from_gguf
from tests.generate.llama_vocab import LlamaVocab
from tests.generate.texts import LINES, TEXT

Keys = dict[str, Any]
MORE = ["", " ", "a\n\nb\n\n\n\nc", "\ufeffmark", "\x00\x7f zero", "User: hi\n\nAssistant:"]


def opened(path: Path, keys: Keys) -> tuple[Any, LlamaVocab]:
    """Ours from the keys, llama.cpp's from a file of them."""
    writer = gguf.GGUFWriter(path, "llama")
    sizes = {"context_length": 64, "embedding_length": 8, "block_count": 1, "feed_forward_length": 8}
    for key, value in sizes.items():
        writer.add_uint32(f"llama.{key}", value)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    for key, value in keys.items():
        name = f"tokenizer.ggml.{key}"
        if isinstance(value, str):
            writer.add_string(name, value)
        elif isinstance(value, list):
            writer.add_array(name, value)
        elif isinstance(value, bool):
            writer.add_bool(name, value)
        else:
            writer.add_uint32(name, value)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in keys.items()}), LlamaVocab(path)


def windows(longest: int) -> list[str]:
    """Pieces of the test's own text that occur more than once."""
    counted = Counter(TEXT[i : i + n] for n in range(1, longest) for i in range(0, len(TEXT) - n))
    return sorted(piece for piece, count in counted.items() if count > 1)


@pytest.fixture(scope="module")
def world() -> Keys:
    """RWKV's layout: `<s>`, 256 bytes, words and halves of characters, fillers; each as repr spells bytes."""
    words = {w.encode() for w in windows(9)} | {"한".encode()[:2], "🚀".encode()[:3], b"\\", b"\n\n", b"\\x"}
    data = [bytes((b,)) for b in range(256)] + sorted(w for w in words if len(w) > 1)
    tokens = ["<s>", *(repr(d)[2:-1] for d in data), "[PAD1]", "[PAD2]"]
    kinds = [3, *[1] * len(data), 5, 5]
    ends = {"bos_token_id": 0, "eos_token_id": 0, "eot_token_id": 1 + data.index(b"\n\n")}
    return {"model": "rwkv", "tokens": tokens, "token_type": kinds, **ends}


def test_rwkv(world: Keys, tmp_path: Path) -> None:
    ours, llama = opened(tmp_path / "v.gguf", world)
    for text in [*LINES, TEXT, *MORE]:
        found = ours.encode(text, add_special=False, parse_special=False)
        assert found == llama.encode(text), text
        assert ours.encode(text) == llama.encode(text, add_special=True, parse_special=True)
        assert ours.decode(found, skip_special=False) == text
    assert ours.encode("a<s>b", add_special=False)[1] == 0
    assert 0 not in ours.encode("a<s>b", add_special=False, parse_special=False)
    assert ours.prefix_ids == () and ours.eos_ids == llama.ends(ours.size)
    llama.close()


def test_rwkv_file_of_the_published_form() -> None:
    """Lines of rwkv_vocab_v20230424.txt: text literals, bytes literals."""
    lines = "1 '\\x00' 1\n256 b'\\xff' 1\n257 '\\t\\t' 2\n300 ' de' 3\n301 '한' 3\n302 ' ' 1\n"
    assert world_file(lines) == {1: b"\0", 256: b"\xff", 257: b"\t\t", 300: b" de", 301: "한".encode(), 302: b" "}
    for wrong in ("1 'a' 2", "x 'a' 1", "1 a 1", "1 'a'", "1 __import__('os') 1", "1 'a' 1\n1 'b' 1"):
        with pytest.raises(CheckpointError, match="RWKV's vocabulary"):
            world_file(wrong)


def test_rwkv_without_all_bytes(world: Keys) -> None:
    fewer = {**world, "tokens": world["tokens"][:-60], "token_type": [3, *[5] * (len(world["tokens"]) - 61)]}
    with pytest.raises(CheckpointError, match="lacks 256 single bytes"):
        tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in fewer.items()})


@pytest.fixture(scope="module")
def plamo() -> Keys:
    """Pieces with scores of all kinds, ties among them; many characters have none and fall to bytes."""
    words = [w for w in windows(8) if not re.search("[한국어🚀ㄱעבर]", w)]
    control = ["<|plamo:unk|>", "<|plamo:bos|>", "<|plamo:eos|>", "<|plamo:pad|>", "<|plamo:op|>"]
    tokens = [*control, *(f"<0x{b:02X}>" for b in range(256)), *words, "<tool>", "[PAD1]"]
    scores = [-(3.0 + (i * 7919 % 97) / 8 - 2.0 * (len(w) - 1)) for i, w in enumerate(words)]
    return {
        "model": "plamo2",
        "pre": "default",
        "tokens": tokens,
        "scores": [*[-600.0] * 5, *[0.0] * 256, *scores, -500.0, -1000.0],
        "token_type": [2, 3, 3, 3, 3, *[6] * 256, *[1] * len(words), 4, 5],
        "eot_token_id": 4,
    }


def test_plamo(plamo: Keys, tmp_path: Path) -> None:
    ours, llama = opened(tmp_path / "v.gguf", plamo)
    for text in [*LINES, TEXT, *MORE, "x<tool>y <|plamo:op|>z"]:
        found = ours.encode(text, add_special=False)
        assert found == llama.encode(text, parse_special=True), text
        assert ours.encode(text) == llama.encode(text, add_special=True, parse_special=True)
        assert ours.decode(found, skip_special=False) == text.removeprefix("\ufeff")
    for text in [*LINES, TEXT]:
        assert ours.encode(text, add_special=False, parse_special=False) == llama.encode(text)
    assert 4 not in ours.encode("<|plamo:op|>", add_special=False, parse_special=False)
    assert ours.eos_ids == llama.ends(ours.size) == {2, 4}
    llama.close()


def test_plamo_without_all_bytes(plamo: Keys) -> None:
    fewer = {**plamo, "token_type": [1 if k == 6 else k for k in plamo["token_type"]]}
    with pytest.raises(CheckpointError, match="0 of 256 bytes"):
        tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in fewer.items()})


@pytest.fixture(scope="module")
def words() -> Keys:
    """A vocabulary over text itself, split at white space, that lacks rare characters."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    trainer = trainers.BpeTrainer(vocab_size=500, min_frequency=1, show_progress=False, limit_alphabet=90)
    tokenizer.train_from_iterator([TEXT], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = ["<s>", "</s>", "<unk>", *sorted(model["vocab"], key=model["vocab"].get)]
    return {
        "model": "whitespace",
        "pre": "whitespace",
        "tokens": tokens,
        "token_type": [3, 3, 2, *[1] * (len(tokens) - 3)],
        "merges": [" ".join(m) for m in model["merges"]],
        "bos_token_id": 0,
        "eos_token_id": 1,
        "seperator_token_id": 1,
    }


@pytest.mark.parametrize("more", [{}, {"normalizer.lowercase": True}, {"add_bos_token": True}])
def test_whitespace(more: Keys, words: Keys, tmp_path: Path) -> None:
    ours, llama = opened(tmp_path / "v.gguf", {**words, **more})
    for text in [*LINES, TEXT, *MORE, "one</s>two <s>"]:
        assert ours.encode(text, parse_special=True) == llama.encode(text, add_special=True, parse_special=True), text
        assert ours.encode(text, add_special=False, parse_special=False) == llama.encode(text), text
    llama.close()


@pytest.mark.parametrize(("model", "pre"), [("whitespace", "gpt-2"), ("gpt2", "whitespace")])
def test_whitespace_with_another_pre(model: str, pre: str, words: Keys) -> None:
    with pytest.raises(UnsupportedError, match=f"'{model}' with the pre-tokenizer '{pre}'"):
        tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in {**words, "model": model, "pre": pre}.items()})


@pytest.fixture(scope="module")
def dna() -> Keys:
    """Byte-level BPE, then the tokens of DNA and some k-mers, one of which is a word as well."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(False)
    trainer = trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator([TEXT, "ACGTAC CCCCCC " * 50], trainer)
    model = json.loads(tokenizer.to_str())["model"]
    base = sorted(model["vocab"], key=model["vocab"].get)
    kmers = ["ACGTAC", "CCCCCC", "GTAAAA", "TTTTTT", "AAAAAA"]
    tokens = ["<|endoftext|>", *base, "<dna>", "</dna>", "<oov>", *(k + "\ue000" for k in kmers), "[PAD1]"]
    return {
        "model": "hybriddna",
        "pre": "qwen2",
        "tokens": tokens,
        "token_type": [3, *[1] * (len(tokens) - 2), 5],
        "merges": [" ".join(m) for m in model["merges"]],
        "eos_token_id": 0,
        "bos_token_id": 0,
    }


DNA = [
    "<dna>ACGTACCCCCCC</dna>",
    "the gene <dna>acgtacGTA</dna> and\n<dna>ttttttNNNNNN</dna><dna></dna> CCCCCC",
    "open <dna>ACGTACé한A",
    "<dna>ACGTAC<|endoftext|>ACGTAC</dna>",
    "a </dna> alone",
]


def test_hybriddna(dna: Keys, tmp_path: Path) -> None:
    ours, llama = opened(tmp_path / "v.gguf", dna)
    for text in [*LINES, TEXT, *MORE, *DNA]:
        assert ours.encode(text) == llama.encode(text, add_special=True, parse_special=True), text
        assert ours.encode(text, add_special=False, parse_special=False) == llama.encode(text), text
    assert ours.decode(ours.encode(DNA[0])) == DNA[0]
    llama.close()


def test_hybriddna_without_its_tokens_is_words(dna: Keys, tmp_path: Path) -> None:
    renamed = [t.replace("<oov>", "<other>") for t in dna["tokens"]]
    ours, llama = opened(tmp_path / "v.gguf", {**dna, "tokens": renamed})
    for text in [*LINES, *DNA]:
        assert ours.encode(text, add_special=False) == llama.encode(text, parse_special=True), text
    llama.close()


def from_folder(files: dict[str, str]) -> Any:
    return tokenizer_from_files(lambda name: files[name].encode() if name in files else None)


def test_rwkv_folder_is_the_gguf(world: Keys) -> None:
    """The list of the repository against GGUF's vocabulary of the same tokens."""
    gguf_tokenizer = tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in world.items()})
    data = [bytes(p) for p in gguf_tokenizer.pieces[1:-2]]
    lines = [f"{i} {_literal(d)} {len(d)}\n" for i, d in enumerate(data, 1)]
    ours = from_folder({"rwkv_vocab_v20230424.txt": "".join(lines), "config.json": '{"eos_token_id": 0}'})
    for text in [*LINES, TEXT, *MORE]:
        assert ours.encode(text) == gguf_tokenizer.encode(text, parse_special=False), text
        assert ours.decode(ours.encode(text)) == text
    assert ours.eos_ids == {0} and ours.prefix_ids == ()


def _literal(data: bytes) -> str:
    try:
        return repr(data.decode())
    except UnicodeDecodeError:
        return repr(data)


def test_plamo_folder_is_the_gguf(plamo: Keys) -> None:
    gguf_tokenizer = tokenizer_from_gguf({f"tokenizer.ggml.{k}": v for k, v in plamo.items()})
    kinds = {1: "NORMAL", 2: "UNKNOWN", 3: "CONTROL", 4: "NORMAL", 5: "NORMAL", 6: "BYTE"}
    rows = zip(plamo["tokens"], plamo["scores"], plamo["token_type"], strict=True)
    listed = "".join(json.dumps([t, s, kinds[k], 0, 0]) + "\n" for t, s, k in rows if k != 5)
    config = '{"bos_token": "<|plamo:bos|>", "eos_token": "<|plamo:eos|>"}'
    ours = from_folder({"tokenizer.jsonl": listed, "tokenizer_config.json": config})
    for text in [*LINES, TEXT, *MORE, "x <|plamo:op|>z"]:
        assert ours.encode(text, add_special=False) == gguf_tokenizer.encode(text, add_special=False), text
    assert ours.prefix_ids == (1,) and ours.eos_ids == {2}


@pytest.mark.parametrize("line", ["[1, 2]", '["a"]', '{"a": 1}', "[", '["a", "b", "NORMAL"]', '["a", 1, 2]'])
def test_broken_lists(line: str) -> None:
    with pytest.raises(CheckpointError, match="Line 1 of tokenizer.jsonl"):
        from_folder({"tokenizer.jsonl": line})
