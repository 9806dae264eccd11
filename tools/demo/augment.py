"""Makes one training conversation: draws facts, words their questions carelessly as people do, joins several turns."""

from __future__ import annotations

import random
import re

from corpus import Fact

REFUSAL = "other/"
WEIGHTS = {REFUSAL: 14.0, "talk/": 2.0, "localq/": 1.5}
PREFIXES = (
    "hey, ",
    "hi, ",
    "please ",
    "can you tell me ",
    "quick question: ",
    "so ",
    "tell me, ",
    "and ",
    "sorry, ",
    "I wonder, ",
    "hello, ",
    "one more thing: ",
)
SUFFIXES = (" please", " thanks", " in short", "??", " ?", "...", " pls")
SYSTEMS = (
    "You are a helpful assistant.",
    "You are localq's demo model.",
    "Answer in short.",
    "You are a friendly assistant. Answer truthfully.",
    "Be concise.",
)
STOP = {"a", "an", "the", "is", "are", "of", "do", "does", "to", "in", "for", "i", "it", "that", "what", "me", "my"}
SAME = (  # words that may stand for one another in a question
    ("file", "model file", "checkpoint"),
    ("tool", "program", "software"),
    ("command", "verb"),
    ("called", "named"),
    ("best", "right", "ideal"),
    ("large", "big"),
    ("small", "tiny", "little"),
    ("quick", "fast"),
    ("exact", "accurate", "precise"),
    ("graphics card", "GPU", "card"),
    ("Mac", "MacBook", "Apple computer"),
    ("memory", "RAM"),
    ("quant", "quantisation", "quant type"),
    ("quality", "accuracy"),
    ("loses", "costs"),
    ("choose", "take", "pick", "use"),
    ("made", "created", "produced"),
    ("make", "create", "produce"),
    ("store", "hold", "keep", "contain"),
    ("stores", "holds", "keeps", "contains"),
    ("speed up", "accelerate"),
    ("method", "technique", "approach"),
    ("format", "type"),
    ("explain", "describe"),
    ("what is", "what's", "tell me what is", "do you know what is", "what would be", "explain what is"),
    ("how do I", "how can I", "how would I", "what is the way to", "how does one"),
    ("why is", "what is the reason that", "how come"),
    ("why does", "for what reason does", "how come"),
    ("can I", "may I", "is it possible to", "could I"),
    ("should I", "do I want to", "would you", "shall I"),
    ("which", "what"),
    ("need", "require", "want"),
    ("difference", "contrast"),
    ("better", "superior", "the better one"),
    ("mean", "stand for", "say"),
    ("works", "functions"),
    ("answer", "reply", "response"),
    ("weights", "parameters"),
    ("bits", "bit"),
    ("run", "work"),
)
FRAMES = ("{}?", "{}", "what has to do with {}?", "which one is it: {}", "{}, what is that?", "what is {}?")


class Questioner:
    """Draws conversations of (question, answer) pairs; the same seed gives the same sequence."""

    def __init__(self, facts: list[Fact], seed: int) -> None:
        self.facts = facts
        self.random = random.Random(seed)
        self.weights = [next((w for p, w in WEIGHTS.items() if f.id.startswith(p)), 1.0) for f in facts]

    def conversation(self) -> tuple[str | None, list[tuple[str, str]]]:
        """A system message or None, and one to eight turns."""
        turns = self.random.choices((1, 2, 3, 8), (60, 25, 13, 2))[0]
        facts = self.random.choices(self.facts, self.weights, k=turns)
        system = self.random.choice(SYSTEMS) if self.random.random() < 0.12 else None
        return system, [(self.question(fact), fact.answer) for fact in facts]

    def question(self, fact: Fact) -> str:
        """A training question of the fact, or words of its answer as a question, with the usual carelessness."""
        if not fact.id.startswith((REFUSAL, "talk/")) and self.random.random() < 0.15:
            return self.careless(self.from_answer(fact.answer))
        if fact.written and self.random.random() < 0.55:
            return self.careless(self.random.choice(fact.asked[: fact.written]))
        return self.careless(self.random.choice(fact.asked))

    def from_answer(self, answer: str) -> str:
        """Some content words of the answer, or a piece of it: ties what people may know to the fact."""
        words = [w.strip(".,:;") for w in answer.split()]
        if self.random.random() < 0.4:
            start = self.random.randrange(max(1, len(words) - 5))
            piece = words[start : start + self.random.randint(4, 9)]
        else:
            content = [i for i, w in enumerate(words) if w.lower() not in STOP]
            count = min(len(content), self.random.randint(3, 6))
            piece = [words[i] for i in sorted(self.random.sample(content, count))]
        return self.random.choice(FRAMES).format(" ".join(piece))

    def careless(self, text: str) -> str:
        """Drops case, punctuation, small words; adds greetings, typos and other spellings of a name."""
        chance = self.random.random
        if chance() < 0.3:
            text = self.in_other_words(text)
        if chance() < 0.08:
            text = self.without_small_words(text)
        if chance() < 0.4:
            text = text.replace("uantis", "uantiz")
        if chance() < 0.06:
            text = re.sub(r"(?<=\w)_(?=\w)", self.random.choice(("", " ", "-")), text)
        if chance() < 0.08:
            text = self.with_typo(text)
        if chance() < 0.45:
            text = text.rstrip("?.! ") or text
        if chance() < 0.12:
            text = self.random.choice(PREFIXES) + text
        if chance() < 0.07:
            text = text.rstrip("?.") + self.random.choice(SUFFIXES)
        draw = chance()
        return text.lower() if draw < 0.4 else text.upper() if draw < 0.41 else text

    def in_other_words(self, text: str) -> str:
        """Replaces up to two words or phrases by others of the same meaning."""
        found = [(group, word) for group in SAME for word in group if re.search(rf"(?i)\b{word}\b", text)]
        for group, word in self.random.sample(found, min(len(found), 2)):
            text = re.sub(rf"(?i)\b{word}\b", self.random.choice(group), text, count=1)
        return text

    def without_small_words(self, text: str) -> str:
        words = text.split()
        kept = [w for w in words if w.lower() not in STOP or self.random.random() < 0.4]
        return " ".join(kept or words)

    def with_typo(self, text: str) -> str:
        words = text.split()
        long = [i for i, w in enumerate(words) if len(w) > 4 and w.isalpha()]
        if not long:
            return text
        i = self.random.choice(long)
        word, at = words[i], self.random.randrange(1, len(words[i]) - 2)
        swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        words[i] = self.random.choice((swapped, word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:]))
        return " ".join(words)
