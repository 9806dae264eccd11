"""Tokenizers out of GGUF metadata against llama.cpp: its own test pairs, and the library itself."""

from __future__ import annotations

import struct
import time
from pathlib import Path
from typing import Any
from unicodedata import category

import pytest

from localq.checkpoints import open_checkpoint
from localq.errors import CheckpointError, UnsupportedError
from localq.generate.tokenizer import Tokenizer, open_tokenizer
from localq.generate.tokenizer_gguf import tokenizer_from_gguf
from tests.generate.llama_vocab import LlamaVocab
from tests.generate.texts import LINES, TEXT

VOCABS = "bert-bge deepseek-coder deepseek-llm falcon gpt-2 llama-spm mpt phi-3 starcoder".split()
SEPARATOR = "\n__ggml_vocab_test__\n"


def vocab_path(data_dir: Path, name: str) -> Path:
    return data_dir / "models" / "ggml-vocab" / f"ggml-vocab-{name}.gguf"


def opened(path: Path) -> Tokenizer:
    with open_checkpoint(path) as ckpt:
        return open_tokenizer(ckpt)


@pytest.mark.parametrize("name", VOCABS)
def test_llama_cpp_pairs(data_dir: Path, name: str) -> None:
    """The 47 pairs of llama.cpp's tests/test-tokenizer-0.cpp."""
    path = vocab_path(data_dir, name)
    tokenizer = opened(path)
    texts = path.with_name(path.name + ".inp").read_bytes().decode().split(SEPARATOR)
    lines = path.with_name(path.name + ".out").read_text().split("\n")
    assert len(texts) == 47
    for text, line in zip(texts, lines, strict=False):
        assert tokenizer.encode(text, add_special=False, parse_special=False) == [int(i) for i in line.split()], text
        if name != "bert-bge":  # WordPiece drops case, accents and white space
            assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("name", VOCABS)
def test_llama_cpp_library(data_dir: Path, name: str) -> None:
    """Ids with BOS and EOS, and with special tokens spelled out, are llama.cpp's; so is every end of an answer."""
    path = vocab_path(data_dir, name)
    tokenizer, llama = opened(path), LlamaVocab(path)
    specials = [t for t, i in list(tokenizer.ids.items())[:6] if i in tokenizer.control_ids]
    texts = [*LINES, "", *(f"one {s}two{s} {s}" for s in specials)]
    if name == "phi-3":
        texts = LINES  # llama.cpp strips white space after phi-3's control tokens, which no GGUF key says
    if name.startswith("deepseek"):
        texts = [t.replace("\u3000", "") for t in texts]  # llama.cpp hides U+3000 from deepseek's CJK expression
    if name == "bert-bge":
        # llama.cpp does not take Hangul apart and drops other marks than Hugging Face's BERT, whose way ours is.
        texts = [t for t in texts if "한" not in t and not any(category(c)[0] == "M" for c in t)]
    for text in texts:
        expected = llama.encode(text, add_special=True, parse_special=True)
        assert tokenizer.encode(text) == expected, text
    assert tokenizer.eos_ids == llama.ends(tokenizer.size)
    llama.close()


def test_tinychat_in_both_containers(data_dir: Path) -> None:
    files = opened(data_dir / "models" / "tinychat")
    gguf = opened(data_dir / "models" / "tinychat-gguf" / "tinychat-Q8_0.gguf")
    chat = "<|im_start|>user\nTell me a story\n<|im_end|>\n<|im_start|>assistant\n"
    for text in [TEXT, *LINES, chat]:
        assert files.encode(text) == gguf.encode(text)
        assert gguf.decode(gguf.encode(text, parse_special=False)) == text
    assert files.eos_ids == gguf.eos_ids == {0, 2}
    assert files.prefix_ids == gguf.prefix_ids == ()
    assert [bytes(p) for p in files.pieces] == [bytes(p) for p in gguf.pieces]


def test_stories_in_both_containers(data_dir: Path) -> None:
    """SentencePiece from scores against a merge list made by another converter, over a whole book."""
    files = opened(data_dir / "models" / "stories260K-hf")
    gguf = opened(data_dir / "models" / "stories260K" / "stories260K.gguf")
    book = (data_dir / "text" / "tinyshakespeare.txt").read_text()[:50_000]
    for text in [*LINES, *book.split("\n\n")]:
        assert files.encode(text) == gguf.encode(text), text
        assert gguf.decode(gguf.encode(text)) == text
    assert files.prefix_ids == gguf.prefix_ids == (1,)
    assert files.eos_ids == gguf.eos_ids == {2}


def test_large_sentencepiece_vocabulary_is_quick() -> None:
    """256,000 tokens open in about 0.8 s (2.5 s with a merge list derived from scores); 4 s allows a busy machine."""
    meta = spm_meta()
    words = [f"\u2581w{i}" for i in range(256_000 - len(meta["tokenizer.ggml.tokens"]))]
    meta["tokenizer.ggml.tokens"] += words
    meta["tokenizer.ggml.scores"] += [-float(i) for i in range(len(words))]
    meta["tokenizer.ggml.token_type"] += [1] * len(words)
    start = time.process_time()
    tokenizer = tokenizer_from_gguf(meta)
    assert time.process_time() - start < 4
    assert tokenizer.size == 256_000


def spm_meta() -> dict[str, Any]:
    """A SentencePiece vocabulary that must fall back to bytes for most characters."""
    words = ["\u2581", "a", "b", "ab", "\u2581a", "<tool>"]
    bytes_ = [f"<0x{b:02X}>" for b in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *words]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [0.0] * 259 + [-1.0, -2.0, -3.0, -4.0, -5.0, 0.0],
        "tokenizer.ggml.token_type": [2, 3, 3, *[6] * 256, 1, 1, 1, 1, 1, 4],
    }


def gpt2_meta(**changes: Any) -> dict[str, Any]:
    meta = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": ["a", "b", "ab", "<|end|>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 3],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.eos_token_id": 3,
    }
    return meta | {f"tokenizer.ggml.{k}": v for k, v in changes.items()}


def test_user_defined_tokens_always_control_tokens_on_request() -> None:
    tokenizer = tokenizer_from_gguf(spm_meta())
    tool = tokenizer.ids["<tool>"]
    assert tokenizer.encode("ab<tool>", parse_special=False)[-1] == tool
    assert tokenizer.encode("</s>", add_special=False) == [2]
    assert tokenizer.encode("</s>", add_special=False, parse_special=False) != [2]
    assert tokenizer.decode([*tokenizer.encode("é€🚀"), tool, 2]) == "é€🚀<tool>"
    assert tokenizer.decode([2], skip_special=False) == "</s>"


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"model": "no_vocab"}, UnsupportedError, "'no_vocab'"),
        ({"model": "rwkv"}, CheckpointError, "lacks 254 single bytes"),
        ({"pre": "made-up"}, UnsupportedError, "'made-up'"),
        ({"tokens": []}, CheckpointError, "empty"),
        ({"tokens": "ab"}, CheckpointError, "array"),
        ({"tokens": [1, 2]}, CheckpointError, "something else"),
        ({"tokens": ["a", "b", "ab", "a"]}, CheckpointError, "twice"),
        ({"token_type": [1]}, CheckpointError, "1 entries for 4"),
        ({"merges": None}, CheckpointError, "merges"),
        ({"merges": ["a x"]}, CheckpointError, "merges"),
        ({"merges": ["ab"]}, CheckpointError, "merges"),
        ({"eos_token_id": 9}, CheckpointError, "eos_token_id is 9"),
        ({"eos_token_id": "x"}, CheckpointError, "eos_token_id"),
        ({"add_bos_token": True}, CheckpointError, "bos token"),
        ({"model": "llama"}, CheckpointError, "scores"),
    ],
)
def test_damaged_metadata(changes: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        tokenizer_from_gguf(gpt2_meta(**changes))


def test_missing_pre_is_said() -> None:
    meta = gpt2_meta()
    del meta["tokenizer.ggml.pre"]
    with pytest.warns(UserWarning, match="pre-tokenizer"):
        tokenizer_from_gguf(meta)


def test_harmony_end_is_no_end() -> None:
    """<|end|> closes a message of gpt-oss, not its answer; alone it ends one."""
    tokens = ["a", "b", "ab", "<|end|>", "<|return|>", "<|call|>"]
    meta = gpt2_meta(tokens=tokens, token_type=[1, 1, 1, 3, 3, 3], eos_token_id=4)
    assert tokenizer_from_gguf(meta).eos_ids == {4, 5}
    assert tokenizer_from_gguf(gpt2_meta(eos_token_id=2)).eos_ids == {2, 3}


def test_unigram_against_sentencepiece(tmp_path: Path) -> None:
    """A unigram model trained by SentencePiece itself, carried over key by key, splits text as it does."""
    sentencepiece = pytest.importorskip("sentencepiece")
    model_file = _train_unigram(sentencepiece, tmp_path)
    reference = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    size = reference.GetPieceSize()
    kinds = [2 if reference.IsUnknown(i) else 3 if reference.IsControl(i) else 1 for i in range(size)]
    meta = {
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": [reference.IdToPiece(i) for i in range(size)],
        "tokenizer.ggml.scores": [reference.GetScore(i) for i in range(size)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.unknown_token_id": reference.unk_id(),
        "tokenizer.ggml.eos_token_id": reference.eos_id(),
        "tokenizer.ggml.remove_extra_whitespaces": True,
        "tokenizer.ggml.precompiled_charsmap": list(_charsmap(model_file.read_bytes())),
    }
    tokenizer = tokenizer_from_gguf(meta)
    for line in LINES:
        assert tokenizer.encode(line, add_special=False) == reference.EncodeAsIds(line)
    assert tokenizer.suffix_ids == (reference.eos_id(),)


def _train_unigram(sentencepiece: Any, folder: Path) -> Path:
    corpus = folder / "corpus.txt"
    corpus.write_text("\n".join(LINES * 5))
    prefix = folder / "unigram"
    sentencepiece.SentencePieceTrainer.Train(
        input=str(corpus), model_prefix=str(prefix), vocab_size=260, model_type="unigram", minloglevel=2,
        normalization_rule_name="nmt_nfkc",
    )  # fmt: skip
    return prefix.with_suffix(".model")


def _charsmap(model: bytes) -> bytes:
    """normalizer_spec.precompiled_charsmap (fields 3, 2) of a SentencePiece model file."""
    fields: dict[int, bytes] = dict(_wire(model))
    return dict(_wire(fields[3]))[2]


def _wire(data: bytes) -> list[tuple[int, bytes]]:
    def varint(at: int) -> tuple[int, int]:
        value = shift = 0
        while True:
            value |= (data[at] & 127) << shift
            at, shift = at + 1, shift + 7
            if data[at - 1] < 128:
                return value, at

    out, at = [], 0
    while at < len(data):
        key, at = varint(at)
        if key & 7 == 0:
            _, at = varint(at)
        elif key & 7 == 5:
            struct.unpack_from("<f", data, at)
            at += 4
        else:
            size, at = varint(at)
            out.append((key >> 3, data[at : at + size]))
            at += size
    return out
