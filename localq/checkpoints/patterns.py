r"""Regular expressions of a checkpoint's config, matched in linear time.

A config is somebody else's: `(a+)+b` in it would keep Python's `re` busy for ever. The subset configs use is compiled
to a finite automaton and run as one, its states made as they are needed (Thompson 1968): literals, `.`, classes,
groups, `|`, `*`, `+`, `?`, `{m,n}` (greedy or not), `^`, `$`, `\d \w \s`, and lookaheads at the very start. Anything
else, and a pattern that is too long, is refused by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache

from localq.errors import UnsupportedError

MAX_LENGTH, MAX_STATES = 2000, 4000
Test = Callable[[str], bool]
_CLASSES: dict[str, Test] = {
    "d": str.isdigit,
    "w": lambda c: c.isalnum() or c == "_",
    "s": str.isspace,
}


@lru_cache(maxsize=1024)
class Pattern:
    """A compiled pattern.

    Raises:
        UnsupportedError: the pattern is none, or uses what localq does not match.
    """

    def __init__(self, text: str) -> None:
        reader = _Reader(text)
        self._anchored = text.startswith("^")
        self._needed = _needed(text)
        self._ahead = reader.lookaheads()
        self._machine = _Machine(reader.parse())

    def match(self, name: str) -> bool:
        """Whether the pattern matches at the start of `name`, as `re.match`."""
        return (
            self._needed in name
            and all(m.run(name, False) == wanted for m, wanted in self._ahead)
            and self._machine.run(name, False)
        )

    def search(self, name: str) -> bool:
        """Whether the pattern matches anywhere in `name`, as `re.search`."""
        if self._ahead and not self._anchored:
            return any(self.match(name[i:]) for i in range(len(name) + 1))
        return self.match(name) if self._ahead else self._needed in name and self._machine.run(name, True)


def _needed(text: str) -> str:
    """A text every match must hold, the longest of a simple pattern; it spares most names a run."""
    if set(text) & set("|([{?^$"):
        return ""
    runs, at = [""], 0
    while at < len(text):
        sign, plain = text[at], text[at] not in ".*+"
        if sign == "\\":
            at += 1
            sign = text[at : at + 1]
            plain = not sign.isalnum()
        if plain and text[at + 1 : at + 2] not in ("*", "+"):
            runs[-1] += sign
        else:
            runs.append("")
        at += 1
    return max(runs, key=len)


@dataclass
class _State:
    """A step of the automaton: by a character that passes `test` to `out[0]`, else at no cost to all of `out`."""

    test: Test | None = None
    anchor: str = ""
    out: list[int] = field(default_factory=list)


_Piece = tuple[int, int]  # first and last state


class _Reader:
    """Recursive descent over the text, building states."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_LENGTH:
            raise UnsupportedError(f"A pattern of {len(text)} characters: localq matches at most {MAX_LENGTH}.")
        self.text, self.at = text, 0
        self.states: list[_State] = []

    def fail(self, what: str) -> UnsupportedError:
        return UnsupportedError(
            f"The pattern {self.text[:200]!r} of the config has {what}, which localq does not match."
        )

    def lookaheads(self) -> list[tuple[_Machine, bool]]:
        """Leading `(?!...)` and `(?=...)`, behind a leading `^` too: automata and whether they must match."""
        found: list[tuple[_Machine, bool]] = []
        start = self.at
        self.at += self.text.startswith("^")
        while self.text.startswith(("(?!", "(?="), self.at):
            wanted = self.text[self.at + 2] == "="
            self.at += 3
            found.append((_Machine(self.group_end(self.either())), wanted))
            self.states = []
        if not found:
            self.at = start
        return found

    def group_end(self, piece: _Piece) -> tuple[list[_State], _Piece]:
        if not self.text.startswith(")", self.at):
            raise self.fail("a group without end")
        self.at += 1
        return self.states, piece

    def parse(self) -> tuple[list[_State], _Piece]:
        piece = self.either()
        if self.at < len(self.text):
            raise self.fail(f"a {self.text[self.at]!r} too many")
        return self.states, piece

    def new(self, test: Test | None = None, anchor: str = "", *out: int) -> int:
        if len(self.states) >= MAX_STATES:
            raise self.fail(f"more than {MAX_STATES} states")
        self.states.append(_State(test, anchor, list(out)))
        return len(self.states) - 1

    def either(self) -> _Piece:
        pieces = [self.sequence()]
        while self.text.startswith("|", self.at):
            self.at += 1
            pieces.append(self.sequence())
        if len(pieces) == 1:
            return pieces[0]
        end = self.new()
        for _, last in pieces:
            self.states[last].out.append(end)
        return self.new(None, "", *(first for first, _ in pieces)), end

    def sequence(self) -> _Piece:
        first = last = self.new()
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            begin, end = self.repeated()
            self.states[last].out.append(begin)
            last = end
        return first, last

    def repeated(self) -> _Piece:
        start = self.at
        piece = self.atom()
        least, most = self.times()
        if (least, most) == (1, 1):
            return piece
        after = self.at
        if self.at < len(self.text) and self.text[self.at] in "*+?{" and not self.literal_brace():
            raise self.fail("a repeat of a repeat")
        first = last = self.new()
        for number in range(max(least, most or 1, 1)):  # each turn reads the atom again: copies of its states
            if number:
                self.at = start
                piece = self.atom()
            begin, end = piece
            self.states[last].out.append(begin)
            if number >= least:
                self.states[last].out.append(skip := self.new())
                self.states[end].out.append(skip)
                if most is None:
                    self.states[end].out.append(begin)
                last = skip
            else:
                if most is None and number == least - 1:
                    self.states[end].out.append(begin)
                last = end
        self.at = after
        if most == 0:
            return first, first
        return first, last

    def times(self) -> tuple[int, int | None]:
        """Least and most repeats (None: any number) of what was just read."""
        sign = self.text[self.at : self.at + 1]
        if sign == "{" and not self.literal_brace():
            low, comma, high = self.text[self.at + 1 : self.text.index("}", self.at)].partition(",")
            self.at = self.text.index("}", self.at) + 1
            least, most = int(low or 0), (int(high) if high else None) if comma else int(low)
            if most is not None and (most < least or most == 0):
                raise self.fail("an empty repeat")
        elif sign and sign in "*+?":
            self.at += 1
            least, most = int(sign == "+"), 1 if sign == "?" else None
        else:
            return 1, 1
        if self.text.startswith("?", self.at):  # not greedy: whether it matches is the same
            self.at += 1
        elif self.text.startswith("+", self.at):
            raise self.fail("a possessive repeat")
        return least, most

    def literal_brace(self) -> bool:
        """Whether a `{` here is no repeat."""
        inside = self.text[self.at + 1 : self.at + 12].partition("}")
        low, _, high = inside[0].partition(",")
        numbers = (low + high).isascii() and all(n.isdigit() or not n for n in (low, high)) and (low or high)
        return self.text.startswith("{", self.at) and not (inside[1] and numbers)

    def atom(self) -> _Piece:
        sign = self.text[self.at]
        self.at += 1
        if sign == "(":
            if self.text.startswith("?:", self.at):
                self.at += 2
            elif self.text.startswith("?", self.at):
                raise self.fail(f"a group '({self.text[self.at : self.at + 3]}'")
            return self.group_end(self.either())[1]
        if sign in "^$":
            end = self.new()
            return self.new(None, sign, end), end
        if sign in "*+?":
            raise self.fail(f"a {sign!r} without anything before it")
        test = self.one_of() if sign == "[" else self.escape() if sign == "\\" else _any if sign == "." else _is(sign)
        end = self.new()
        return self.new(test, "", end), end

    def escape(self) -> Test:
        sign = self.text[self.at : self.at + 1]
        self.at += 1
        if sign.lower() in _CLASSES:
            test = _CLASSES[sign.lower()]
            return (lambda c: not test(c)) if sign.isupper() else test
        if not sign or sign.isalnum():
            raise self.fail(f"a '\\{sign}'")
        return _is(sign)

    def one_of(self) -> Test:
        negated = self.text.startswith("^", self.at)
        self.at += negated
        tests: list[Test] = []
        while not tests or not self.text.startswith("]", self.at):
            if self.at >= len(self.text):
                raise self.fail("a class without end")
            sign = self.text[self.at]
            self.at += 1
            if sign == "\\":
                tests.append(self.escape())
            elif self.text.startswith("-", self.at) and self.text[self.at + 1 : self.at + 2] not in ("]", "\\", ""):
                tests.append(_between(sign, self.text[self.at + 1]))
                self.at += 2
            else:
                tests.append(_is(sign))
        self.at += 1
        return lambda c: any(test(c) for test in tests) != negated


def _is(sign: str) -> Test:
    return lambda c: c == sign


def _between(low: str, high: str) -> Test:
    return lambda c: low <= c <= high


def _any(c: str) -> bool:
    return c != "\n"


class _Machine:
    """The automaton. Sets of states become numbers, and steps a table, as names lead to them."""

    def __init__(self, parsed: tuple[list[_State], _Piece]) -> None:
        self.states, (self.first, self.last) = parsed
        self._tables: dict[bool, _Table] = {}

    def run(self, name: str, anywhere: bool) -> bool:
        """Whether it accepts the start of `name`, or any part of it."""
        table = self._tables.get(anywhere)
        if table is None:
            table = self._tables[anywhere] = _Table(self, anywhere)
        return table.run(name)

    def spread(self, reached: set[int], start: bool, end: bool) -> frozenset[int]:
        """These states and all they lead to without a character; anchors are passed only where they hold."""
        seen, todo = set(reached), list(reached)
        while todo:
            state = self.states[todo.pop()]
            blocked = (state.anchor == "^" and not start) or (state.anchor == "$" and not end)
            if state.test is None and not blocked:
                new = [n for n in state.out if n not in seen]
                seen.update(new)
                todo += new
        return frozenset(seen)


class _Table:
    """Steps from set to set, made at their first use. Number 0 is where every name starts."""

    def __init__(self, machine: _Machine, anywhere: bool) -> None:
        self.machine, self.anywhere = machine, anywhere
        self._clear()

    def _clear(self) -> None:
        self.sets: list[frozenset[int]] = []
        self.steps: list[dict[str, int]] = []
        self.done: list[bool] = []  # accepted whatever follows
        self.done_at_end: list[bool] = []
        self.numbers: dict[frozenset[int], int] = {}
        self._add(self.machine.spread({self.machine.first}, start=True, end=False), start=True)

    def _add(self, found: frozenset[int], start: bool) -> int:
        last = self.machine.last
        self.sets.append(found)
        self.steps.append({})
        self.done.append(last in found)
        self.done_at_end.append(last in self.machine.spread(set(found), start=start, end=True))
        return len(self.sets) - 1

    def run(self, name: str) -> bool:
        now = 0
        for sign in name:
            if self.done[now]:
                return True
            after = self.steps[now].get(sign)
            if after is None:
                after = self._step(now, sign)
            if not self.sets[after]:
                return False
            now = after
        return self.done_at_end[now]

    def _step(self, now: int, sign: str) -> int:
        machine, reached = self.machine, set()
        for number in self.sets[now]:
            test = machine.states[number].test
            if test is not None and test(sign):
                reached.update(machine.states[number].out)
        found = machine.spread(reached, start=False, end=False)
        if self.anywhere:
            found |= machine.spread({machine.first}, start=False, end=False)
        number = self.numbers.get(found, -1)
        if number < 0:
            full = len(self.sets) > MAX_STATES  # a pattern made to have many: begin again
            if full:
                self._clear()
            number = self.numbers[found] = self._add(found, start=False)
            if full:
                return number
        self.steps[now][sign] = number
        return number
