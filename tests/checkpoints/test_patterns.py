"""Patterns of configs against Python's own `re`, and the ones that would keep `re` busy for ever."""

from __future__ import annotations

import random
import re
import time

import pytest

from localq.checkpoints.patterns import Pattern
from localq.errors import UnsupportedError

PATTERNS = [
    *(r".*\.18\..*gate.*", "lm_head", ".*lm_head", ".*mlp.gate$", r"model\.layers\.(0|1|2)\..*", "[^.]+\\.layers"),
    *(r"^(?!.*(lm_head|q_proj)).*$", "(?=.*b)a", "(?!a)(?!b).", "a{2,3}b", r"[a-c]+\d*", "x?y+?z", "(ab|c)*d"),
    *(r"\w+\.\d+", ".*", "", "a|b|", "(a|b){2}", "a{2,}", "a{,2}b", ".*down_proj$", r"(?:model\.)?layers\.[0-9]+"),
    *("a.c", "(a+)+b", "$", "^$", "^a$", "(^a|b$)", "[]a]", r"[a\-z]", r"\W", "a{x}", "a-z", "([^b]|bc)+$"),
]


def names() -> list[str]:
    rng = random.Random(0)
    usual = [
        "model.layers.18.mlp.gate_proj",
        "lm_head",
        "model.lm_head",
        "model.layers.1.mlp.gate",
        "layers.3.down_proj",
    ]
    return usual + ["".join(rng.choice("abcdxyz.1-{}") for _ in range(rng.randrange(8))) for _ in range(300)]


@pytest.mark.parametrize("text", PATTERNS)
def test_as_python_matches(text: str) -> None:
    ours, theirs = Pattern(text), re.compile(text)
    assert [n for n in names() if ours.match(n) != bool(theirs.match(n))] == []
    assert [n for n in names() if ours.search(n) != bool(theirs.search(n))] == []


def test_catastrophic_patterns_take_no_time() -> None:
    start = time.process_time()
    assert not Pattern("(a+)+b").match("a" * 5000)
    assert not Pattern("(a|aa)+$").match("a" * 5000 + "b")
    assert not Pattern(".*.*.*.*.*.*x").match("a" * 5000)
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"\bfoo", r"a '\\b'"),
        ("(?i)a", "group"),
        ("(?<=a)b", "group"),
        (r"(a)\1", r"a '\\1'"),
        ("a++", "possessive"),
        ("(", "group without end"),
        ("a)", "too many"),
        ("[a", "class without end"),
        ("a**", "repeat of a repeat"),
        ("*", "without anything before"),
        ("a" * 3000, "3000 characters"),
        ("(a{1000}){1000}", "states"),
    ],
)
def test_what_is_not_matched_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(UnsupportedError, match=said):
        Pattern(text)
