"""Mutants of a struct's text: one token changed, an operator, a number or a shift."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

TOKEN = re.compile(r"<<|>>|<=|>=|==|!=|\+\+|--|[-+*/%&|^<>?]=?|\b0x[0-9a-fA-F]+u?\b|\b\d+\.\d+f\b|\b\d+u?\b")
OTHERS = {
    **{"<<": ">>", ">>": "<<", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "&": "|", "|": "&", "^": "|"},
    **{"+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|="},
}


class Mutant(NamedTuple):
    """A struct with one token changed."""

    line: int
    column: int
    old: str
    new: str
    text: str

    @property
    def code(self) -> str:
        """The changed line."""
        return self.text.splitlines()[self.line - 1].strip()


def mutants(text: str) -> Iterator[Mutant]:
    """Every mutant of a struct; declarations of members, the numbers of its layout and comments are left alone."""
    begins = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        code = line.split("//")[0]
        if not re.match(r"\s*(const device \w+\* \w+;|struct|enum|uint rows|METAL_FUNC [^{]*\{?$|#)", code):
            for found in TOKEN.finditer(code):
                other = _other(code, found)
                if other is not None:
                    at = begins + found.start()
                    changed = text[:at] + other + text[at + len(found[0]) :]
                    yield Mutant(number, found.start(), found[0], other, changed)
        begins += len(line)


def methods(text: str) -> dict[int, str]:
    """Line -> the method it stands in, "" before the first."""
    found, now = {}, ""
    for number, line in enumerate(text.splitlines(), 1):
        begins = re.match(r"\s*METAL_FUNC \w+ (\w+)\(", line)
        now = begins[1] if begins else now
        found[number] = now
    return found


def _other(code: str, found: re.Match[str]) -> str | None:
    token = found[0]
    if token[0].isdigit():
        if token.endswith("f") and "x" not in token:
            return f"{float(token[:-1]) + 1}f"
        plain = token.removesuffix("u")
        if re.search(r"\b(float|uint|uint8_t) (\w+(\[\d+\])?( = [^,]*)?, )*\w+\[$", code[: found.start()]):
            return f"{int(plain) - 1}"  # of an array: one that is larger does the same
        return f"{int(plain, 0) + 1}" + ("u" if token.endswith("u") else "")
    before, after = code[: found.start()].rstrip(), code[found.end() :]
    if token in "*&" and (before.endswith(("(", "return")) or re.search(_POINTED, before)):
        return None  # a pointer's star
    if token in "-+" and (not before or before[-1] in "(,=?:<>*/+-"):
        return None  # a sign
    if token in "<>" and (re.search(r"(as_type|select)$", before) or after.startswith("(")):
        return None  # a template's bracket
    return OTHERS.get(token)


_POINTED = r"\b(uint8_t|int8_t|ushort|uint|half|float|uint64_t|[CSVZ])$"
