"""Reads the corpus: facts, each an answer with its key facts and its questions, some of them held back from training.

File format, one block per fact, blank line between facts, `#` comments:

    = the answer
    + key fact | key fact          both must occur in an answer that is counted right
    what: name; other name         a kind of templates.py with its subjects
    ? a question

One in six of a fact's hand-written questions, and one in seven of each template line, is held back from training: those
whose text has the smallest hash. So the split depends on nothing but the text.
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
if str(HERE) not in sys.path:  # the folder is a set of scripts, not a package
    sys.path.insert(0, str(HERE))

import registry  # noqa: E402
import templates  # noqa: E402

TEMPLATES_PER_HELD = 7
WRITTEN_PER_HELD = 6


@dataclass
class Fact:
    """One answer; `asked` and `held` are its training and held-back questions."""

    id: str
    answer: str
    keys: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)  # written by hand
    held_templates: list[str] = field(default_factory=list)
    written: int = 0  # how many of `asked` are written by hand; they come first

    def add_templates(self, kind: str, subjects: list[str]) -> None:
        questions = templates.expand(kind, subjects)
        held = _held_keys(questions, TEMPLATES_PER_HELD)
        for question in questions:
            (self.held_templates if question_key(question) in held else self.asked).append(question)

    def settle(self, written: list[str]) -> None:
        """Splits the hand-written questions and drops doubles: what is written out overrules what a template made."""
        back = _held_keys(written, WRITTEN_PER_HELD)
        first = [(k, q) for k, q in _unique(written) if k not in back]
        self.held = [q for k, q in _unique(written) if k in back]
        asked = [q for k, q in _unique([q for _, q in first] + self.asked) if k not in back]
        known = back | {question_key(q) for q in asked}
        self.held_templates = [q for k, q in _unique(self.held_templates) if k not in known]
        self.asked, self.written = asked, len(first)


def read_corpus() -> list[Fact]:
    """All facts: the text files in name order, then the generated ones.

    Raises:
        ValueError: a line is none of the forms above; named by file and line.
    """
    facts = [fact for path in sorted((HERE / "corpus").glob("*.txt")) for fact in _read_file(path)]
    for name, answer, keys, kind, subjects in registry.rows():
        fact = Fact(name, answer, keys)
        fact.add_templates(kind, subjects)
        fact.settle([])
        facts.append(fact)
    return facts


def normalised(text: str) -> str:
    """Lower case, one space between words, no punctuation that carries no meaning."""
    text = re.sub(r"[^\w.#/+%-]+", " ", text.lower())
    return re.sub(r"\.(?=\s|$)", "", text).strip()


def question_key(text: str) -> str:
    """What makes two questions the same question."""
    return re.sub(r"[?.!,\s]+", " ", text.lower()).strip() or text.strip()


def _hash(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _held_keys(questions: list[str], one_in: int) -> set[str]:
    keys = sorted({question_key(q) for q in questions}, key=_hash)
    return set(keys[: max(1, len(keys) // one_in)]) if keys else set()


def _unique(questions: list[str]) -> list[tuple[str, str]]:
    return list({question_key(q): q for q in reversed(questions)}.items())[::-1]


def _read_file(path: Path) -> list[Fact]:
    facts: list[Fact] = []
    written: list[list[str]] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            facts.append(Fact(f"{path.stem}/{len(facts)}", line[2:]))
            written.append([])
        elif not facts or not _take(facts[-1], written[-1], line):
            raise ValueError(f"{path.name}:{number}: '{line}' is no line of a fact")
    for fact, questions in zip(facts, written, strict=True):
        fact.settle(questions)
    return facts


def _take(fact: Fact, written: list[str], line: str) -> bool:
    mark, _, rest = line.partition(" ")
    if mark == "+":
        fact.keys += [key.strip() for key in rest.split("|")]
    elif mark == "?":
        written.append(rest)
    elif mark.endswith(":") and mark[:-1] in templates.KINDS:
        fact.add_templates(mark[:-1], [s.strip() for s in rest.split(";")])
    else:
        return False
    return True
