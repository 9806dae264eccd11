"""The demo's corpus: well formed, no contradictions, in step with the registry."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from localq.formats.ggml_types import GGML_BY_NAME

TOOLS = Path(__file__).resolve().parents[2] / "tools" / "demo"
sys.path.insert(0, str(TOOLS))

import corpus  # noqa: E402
import evaluate  # noqa: E402
import registry  # noqa: E402

FACTS = corpus.read_corpus()


def questions(fact: corpus.Fact) -> list[str]:
    return fact.asked + fact.held + fact.held_templates


def said(fact: corpus.Fact) -> str:
    return " " + corpus.normalised(fact.answer)


def test_size_of_the_corpus() -> None:
    assert len(FACTS) >= 500
    assert sum(len(f.asked) for f in FACTS) >= 16 * len(FACTS)


def test_every_fact_is_asked_often_and_has_a_held_back_question() -> None:
    thin = [f.id for f in FACTS if len(f.asked) < 5 or not f.held + f.held_templates]
    assert thin == []


def test_no_question_has_two_answers_and_none_is_both_asked_and_held_back() -> None:
    seen: dict[str, tuple[str, bool]] = {}
    wrong = []
    for fact in FACTS:
        for question in questions(fact):
            here = (fact.id, question in fact.asked)
            if seen.setdefault(corpus.question_key(question), here) != here:
                wrong.append((question, fact.id))
    assert wrong == []


def test_no_two_facts_have_the_same_answer() -> None:
    answers = [corpus.normalised(f.answer) for f in FACTS]
    assert len(set(answers)) == len(answers)


def test_answers_are_short_and_contain_their_key_facts() -> None:
    assert [f.id for f in FACTS if len(f.answer.split()) > 45] == []
    absent = [(f.id, k) for f in FACTS for k in f.keys if f" {corpus.normalised(k)}" not in said(f)]
    assert absent == []
    assert [f.id for f in FACTS if not f.keys] == []


def test_an_answer_is_right_only_for_its_own_fact() -> None:
    """The rule of evaluate.py is strict: no fact's answer counts for another fact."""
    confused = [(a.id, b.id) for a in FACTS for b in FACTS if a is not b and evaluate.is_right(a.answer, b)]
    assert confused == []


def test_a_wrong_number_is_never_right() -> None:
    fact = next(f for f in FACTS if f.id == "type/bits/Q6_K")
    assert evaluate.is_right(fact.answer.upper(), fact)
    assert not evaluate.is_right(fact.answer.replace("6.5625", "6.5"), fact)
    assert not evaluate.is_right(fact.answer + " Or 7 bits.", fact)


@pytest.mark.parametrize("name", sorted(n for n in GGML_BY_NAME if n not in registry.INTEGERS))
def test_bits_said_in_the_corpus_are_the_registrys(name: str) -> None:
    """Every hand-written or generated 'X ... N bits per weight' about one ggml type agrees with its block struct."""
    kind = GGML_BY_NAME[name]
    shown, bits = registry.shown(kind), 8 * kind.bytes / kind.block
    fact = next(f for f in FACTS if f.id == f"type/bits/{shown}")
    said = re.search(r"uses ([\d.]+) bits", fact.answer)
    assert said and float(said.group(1)) == bits
    if kind.block > 1:
        block = next(f for f in FACTS if f.id == f"type/block/{shown}")
        assert f"{kind.block} weights in {kind.bytes} bytes" in block.answer


BITS_BY_HAND = {
    "IQ1_M is a 1.75-bit": "iq1_m",
    "close to lossless at 8.5": "q8_0",
    "MXFP4 is the OCP 4-bit float format": "mxfp4_ggml",
    "The most exact quantised type is Q8_0": "q8_0",
    "Q4_K wins over Q4_0 at the same 4.5": "q4_k",
}


@pytest.mark.parametrize(("start", "name"), BITS_BY_HAND.items())
def test_bits_in_written_answers_agree(start: str, name: str) -> None:
    answer = next(f.answer for f in FACTS if start in f.answer)
    kind = GGML_BY_NAME[name]
    assert f"{8 * kind.bytes / kind.block:g}" in answer


BLOCK_BY_HAND = re.compile(r"(?P<name>I?Q\d_\w+) .*?(?:blocks of|super-blocks of|shared by|per) (?P<block>\d+) weights")


def test_block_sizes_in_written_answers_agree() -> None:
    """'Q4_0 ... blocks of 32 weights', 'Q1_0 ... shared by 128 weights': where an answer opens with its type."""
    checked = 0
    for fact in FACTS:
        found = BLOCK_BY_HAND.match(fact.answer)
        if fact.id.startswith("types/") and found and found["name"].lower() in GGML_BY_NAME:
            block = GGML_BY_NAME[found["name"].lower()].block
            groups = {block, 16, 32} if block == 256 else {block}
            assert int(found["block"]) in groups, fact.answer
            checked += 1
    assert checked >= 8


def test_sizes_and_recipes_said_in_advice_follow_from_bits_per_weight() -> None:
    """'a 14B model in Q4_K_M, about 8.6 GB': parameters x bits per weight / 8, to the digits given."""
    bits = {**registry.RECIPE_BPW, **registry.SIZE_BPW}
    claim = re.compile(r"(\d+)B model in (\w+), about ([\d.]+) GB")
    found = [(f.answer, *m.groups()) for f in FACTS for m in claim.finditer(f.answer)]
    assert len(found) >= 9
    for answer, size, name, gigabytes in found:
        digits = len(gigabytes.partition(".")[2])
        assert float(gigabytes) == pytest.approx(int(size) * bits[name] / 8, abs=0.6 * 10**-digits), answer


def test_the_split_depends_on_the_text_only() -> None:
    again = corpus.read_corpus()
    assert [(f.asked, f.held, f.held_templates) for f in again] == [(f.asked, f.held, f.held_templates) for f in FACTS]


def test_a_line_of_no_known_form_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("= An answer.\n? question\nwat: x\n")
    with pytest.raises(ValueError, match=r"bad.txt:3: 'wat: x' is no line of a fact"):
        corpus._read_file(path)
