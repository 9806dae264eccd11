"""Trains the demo's tokenizer: byte-level BPE, so that any text encodes, and a ChatML-like template.

The pre-tokenizer is Qwen2's pattern (digits stand alone), which GGUF readers know as `pre = "qwen2"`.
"""

from __future__ import annotations

import json
from pathlib import Path

from corpus import Fact
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

VOCABULARY = 2048
END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def train_tokenizer(facts: list[Fact]) -> Tokenizer:
    """A tokenizer of VOCABULARY tokens, learned from the answers and training questions."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    specials = [END, START, STOP]
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=specials,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(facts), trainer)
    tokenizer.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in specials])
    return tokenizer


def _texts(facts: list[Fact]) -> list[str]:
    roles = ["user\n", "assistant\n", "system\n"] * 500
    asked = [q for f in facts for q in f.asked]
    return roles + [f.answer for f in facts] * 4 + asked + [q.lower() for q in asked]


def save_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json."""
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 1024,
        "bos_token": None,
        "eos_token": STOP,
        "pad_token": END,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "add_bos_token": False,
        "chat_template": CHAT_TEMPLATE,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def encode_conversation(
    tokenizer: Tokenizer, system: str | None, turns: list[tuple[str, str]]
) -> tuple[list[int], list[bool]]:
    """Token ids as the chat template writes them, and which of them are an answer's (its end token included)."""
    ids: list[int] = []
    answer: list[bool] = []

    def put(text: str, counts: bool) -> None:
        new = tokenizer.encode(text, add_special_tokens=False).ids
        ids.extend(new)
        answer.extend([counts] * len(new))

    if system is not None:
        put(f"{START}system\n{system}{STOP}\n", False)
    for question, text in turns:
        put(f"{START}user\n{question}{STOP}\n{START}assistant\n", False)
        put(f"{text}{STOP}", True)
        put("\n", False)
    return ids, answer
