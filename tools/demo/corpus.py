"""Reads the corpus: facts, each an answer with its key facts and its questions, some of them held back from training.

File format, one block per fact, blank line between facts, `#` comments:

    = the answer
    + key fact | key fact          both must occur in an answer that is counted right
    what: name; other name         a kind of templates.py with its subjects
    ? a training question
    ! a held-back question: never seen in training

Hand-written questions are held back by `!`, template questions by a hash of their text (one in seven of each line), so
the split depends on nothing but the text.
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

HELD_OUT_OF = 7


@dataclass
class Fact:
    """One answer; `asked` and `held` are its training and held-back questions."""

    id: str
    answer: str
    keys: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)  # written by hand, marked with !
    held_templates: list[str] = field(default_factory=list)  # picked by hash

    def add_templates(self, kind: str, subjects: list[str]) -> None:
        questions = templates.expand(kind, subjects)
        order = sorted({question_key(q) for q in questions}, key=_hash)
        held = set(order[: max(1, len(order) // HELD_OUT_OF)])
        for question in questions:
            (self.held_templates if question_key(question) in held else self.asked).append(question)

    def settle(self) -> None:
        """Each question once; one that is marked `!` is held back, one that is written out with `?` is not."""
        marked = {question_key(q) for q in self.held}
        self.asked = [q for k, q in _unique(self.asked) if k not in marked]
        known = marked | {question_key(q) for q in self.asked}
        self.held_templates = [q for k, q in _unique(self.held_templates) if k not in known]


def read_corpus() -> list[Fact]:
    """All facts: the text files in name order, then the generated ones.

    Raises:
        ValueError: a line is none of the forms above; named by file and line.
    """
    facts = [fact for path in sorted((HERE / "corpus").glob("*.txt")) for fact in _read_file(path)]
    for name, answer, keys, kind, subjects in registry.rows():
        fact = Fact(name, answer, keys)
        fact.add_templates(kind, subjects)
        facts.append(fact)
    for fact in facts:
        fact.settle()
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


def _unique(questions: list[str]) -> list[tuple[str, str]]:
    return list({question_key(q): q for q in reversed(questions)}.items())[::-1]


def _read_file(path: Path) -> list[Fact]:
    facts: list[Fact] = []
    for number, raw in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("= "):
            facts.append(Fact(f"{path.stem}/{len(facts)}", line[2:]))
            continue
        if not facts or not _take(facts[-1], line):
            raise ValueError(f"{path.name}:{number}: '{line}' is no line of a fact")
    return facts


def _take(fact: Fact, line: str) -> bool:
    mark, _, rest = line.partition(" ")
    if mark == "+":
        fact.keys += [key.strip() for key in rest.split("|")]
    elif mark == "?":
        fact.asked.append(rest)
    elif mark == "!":
        fact.held.append(rest)
    elif mark.endswith(":") and mark[:-1] in templates.KINDS:
        fact.add_templates(mark[:-1], [s.strip() for s in rest.split(";")])
    else:
        return False
    return True
