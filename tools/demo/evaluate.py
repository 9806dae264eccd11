"""Asks the bundled model its corpus questions and prints the share answered right, also of held-back paraphrases.

    python tools/demo/evaluate.py                          through transformers and torch (their own environment)
    python tools/demo/evaluate.py --engine localq --sample 200

Decoding is greedy, each question is a chat of its own. An answer is right if it equals the fact's answer (lower case,
punctuation aside), or if it has every key fact of that answer, no number that the answer lacks, and four fifths of its
words. Anything else is wrong, also a true answer to another question (a test checks that no fact passes for another).
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]

from corpus import Fact, normalised, read_corpus  # noqa: E402

DEMO = HERE.parents[1] / "localq" / "demo"
LONGEST_ANSWER = 96  # tokens; the longest of the corpus has 67
Question = tuple[str, Fact]
Ask = Callable[[list[str]], list[str]]


def questions(facts: list[Fact]) -> dict[str, list[Question]]:
    """The corpus questions and the two kinds of held-back ones."""
    return {
        "corpus": [(q, f) for f in facts for q in f.asked],
        "held back, written by hand": [(q, f) for f in facts for q in f.held],
        "held back, from templates": [(q, f) for f in facts for q in f.held_templates],
    }


def is_right(answer: str, fact: Fact) -> bool:
    """Strictly: the fact's answer, or nearly its words with all its key facts and no number of its own."""
    said, wanted = normalised(answer), normalised(fact.answer)
    if said == wanted:
        return True
    has_keys = bool(fact.keys) and all(f" {normalised(key)}" in f" {said}" for key in fact.keys)
    if not has_keys or not numbers(said) <= numbers(wanted):
        return False
    words = Counter(wanted.split())
    return (words & Counter(said.split())).total() >= 0.8 * words.total()


def numbers(text: str) -> set[str]:
    return set(re.findall(r"\d+(?:\.\d+)?", text))


def ask_transformers(folder: Path) -> Ask:
    """Greedy answers by transformers in float32, in batches of questions of equal length."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def ask(asked: list[str]) -> list[str]:
        chats = [[{"role": "user", "content": q}] for q in asked]
        texts = [tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in chats]
        batch = tokenizer(texts, return_tensors="pt", padding=True, padding_side="left", add_special_tokens=False)
        batch.pop("token_type_ids", None)
        with torch.no_grad():
            out = model.generate(**batch, max_new_tokens=LONGEST_ANSWER, do_sample=False)
        return tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)

    return ask


def ask_localq(model: str, engine: str) -> Ask:
    """Greedy answers by localq itself."""
    import localq

    loaded = localq.load(model, engine=engine)

    def ask(asked: list[str]) -> list[str]:
        chats = [[{"role": "user", "content": q}] for q in asked]
        return [loaded.generate(c, temperature=0.0, max_tokens=LONGEST_ANSWER) for c in chats]

    return ask


def share_right(ask: Ask, pairs: list[Question], show: int = 0) -> float:
    """Share of the questions answered right; prints the first `show` wrong ones."""
    right = 0
    for start in range(0, len(pairs), 64):
        part = pairs[start : start + 64]
        for (question, fact), answer in zip(part, ask([q for q, _ in part]), strict=True):
            right += is_right(answer, fact)
            if show and not is_right(answer, fact):
                show -= 1
                print(f"  ? {question}\n    {answer}\n    should be: {fact.answer}", file=sys.stderr)
    return right / len(pairs)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--engine", choices=("transformers", "localq"), default="transformers")
    parser.add_argument("--model", default=str(DEMO), help="folder, or anything localq loads")
    parser.add_argument("--localq-engine", default="auto", help="auto, mlx or llama")
    parser.add_argument("--sample", type=int, default=0, help="questions of each kind, drawn with seed 0 (0: all)")
    parser.add_argument("--show", type=int, default=0, help="print that many wrong answers of each kind to stderr")
    given = parser.parse_args()
    if given.engine == "localq":
        ask = ask_localq(given.model, given.localq_engine)
    else:
        ask = ask_transformers(Path(given.model))
    for kind, pairs in questions(read_corpus()).items():
        if given.sample:
            pairs = random.Random(0).sample(pairs, min(given.sample, len(pairs)))
        pairs.sort(key=lambda pair: len(pair[0]))
        share = share_right(ask, pairs, given.show)
        print(json.dumps({"questions": kind, "number": len(pairs), "right": round(share, 4)}), flush=True)


if __name__ == "__main__":
    main()
