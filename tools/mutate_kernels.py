"""Mutants of every decode struct, and whether the checks would see them: python -m tools.mutate_kernels [STEM ...]

A mutant is a struct with one token changed (an operator, a number, a shift). It is killed when its weights, decoded in
checked mode, or its products with vectors, are not those of the format, when the executor or the sanitisers' checks
report it, when it crashes, or when it does not compile. What passes but compiles to the same instructions changes
nothing and does not count; what survives is printed, to be read: `tools/mutation/judged.txt` has the reason where a
survivor was found to change no weight that can be stored. Needs g++; `--state` keeps verdicts between runs.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import platform
import random
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from localq_metal import source
from tests.metal.harness import Harness
from tools.mutation.batch import same_instructions, tried
from tools.mutation.cases import cases
from tools.mutation.words import Mutant, methods, mutants

ROOT = Path(__file__).resolve().parent.parent

BATCH = 24
LINE = 0.95  # of the mutants of a file that change something
SHARED = "dot.h"  # stands in many structs; tried once
JUDGED = ROOT / "tools/mutation/judged.txt"
RESULTS = ROOT / "benchmarks/results/mutation.md"


class Outcome(NamedTuple):
    """A mutant of a file and why it is refused: "" where it is not, "same" where it changes no instruction."""

    name: str
    mutant: Mutant
    verdict: str

    @property
    def words(self) -> str:
        m = self.mutant
        return f"{self.name}: {m.old} -> {m.new}: {m.code}"


class State:
    """Verdicts of earlier runs by a hash of the struct's text and the mutant's."""

    def __init__(self, file: Path | None) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file and file.exists() else []
        self.known: dict[str, str] = dict(json.loads(line) for line in lines)

    def key(self, stem: str, mutant: Mutant) -> str:
        return hashlib.sha256(f"{source.decoder(stem)}\n{mutant.text}".encode()).hexdigest()[:24]

    def keep(self, key: str, verdict: str) -> None:
        self.known[key] = verdict
        if self.file:
            with self.file.open("a") as out:
                out.write(json.dumps([key, verdict]) + "\n")


def run(harness: Harness, stem: str, chosen: list[Mutant], state: State) -> Iterator[tuple[Mutant, str]]:
    """Each mutant and its verdict. Later cases are for what earlier ones let pass."""
    left = [m for m in chosen if state.key(stem, m) not in state.known]
    original = source.decoder(stem)
    of = methods(original)
    texts = []
    for case in cases(stem) if left else ():
        texts.append(case.decoding.recorded.text)
        for trial, skipped in ((case.decoding, "dot"), *((one, "decode16") for one in case.products)):
            todo = [m for m in left if of[m.line] != skipped]
            for start in range(0, len(todo), BATCH):
                some = todo[start : start + BATCH]
                right, *verdicts = tried(harness, trial, stem, [original, *(m.text for m in some)])
                assert not right, f"{case.name}: the struct itself is refused: {right}"
                for mutant, verdict in zip(some, verdicts, strict=True):
                    if verdict:
                        state.keep(state.key(stem, mutant), verdict)
                        left.remove(mutant)
    for mutant in left:
        state.keep(state.key(stem, mutant), "same" if same_instructions(harness, texts, stem, mutant.text) else "")
    yield from ((m, state.known[state.key(stem, m)]) for m in chosen)


def files(asked: list[str]) -> Iterator[tuple[str, str, list[Mutant]]]:
    """Name of a file, a stem that has it, and its mutants."""
    shared = next(s for s in source.stems() if "RUN = 16, SPAN = 1, STRIDE = 16 };\n  METAL_FUNC float dot" in _text(s))
    for stem in source.stems():
        text = source.decoder(stem)
        begins = text.find("// For formats that say nothing better")
        last = text[:begins].count("\n") if begins >= 0 else len(text)
        found = list(mutants(text))
        if not asked or stem in asked:
            yield f"{stem}.h", stem, [m for m in found if m.line <= last]
        if stem == shared and (not asked or SHARED in asked):
            yield SHARED, stem, [m for m in found if m.line > last]


def _text(stem: str) -> str:
    return source.decoder(stem) if "// For formats that say nothing better" in source.decoder(stem) else ""


def judged() -> dict[str, str]:
    """Survivors that somebody read -> why they change nothing. A line: what is printed of it, a tab, the reason."""
    lines = JUDGED.read_text().splitlines() if JUDGED.exists() else []
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


def table(outcomes: list[Outcome]) -> list[str]:
    """Rows of the results; a file under the line is marked."""
    rows, reasons = [], judged()
    for name in dict.fromkeys(o.name for o in outcomes):
        mine = [o for o in outcomes if o.name == name]
        same = sum(o.verdict == "same" for o in mine)
        survivors = [o for o in mine if not o.verdict]
        equal = sum(o.words in reasons for o in survivors)
        counted = len(mine) - same - equal
        killed = counted - (len(survivors) - equal)
        share = killed / max(counted, 1)
        mark = "" if share >= LINE else " (under the line)"
        rows.append(f"| {name} | {len(mine)} | {same} | {equal} | {killed} of {counted} | {share:.1%}{mark} |")
    return rows


def write(outcomes: list[Outcome]) -> None:
    """Keep the table and the survivors in benchmarks/results/."""
    reasons = judged()
    head = (
        "# Mutants of the decode structs\n\n"
        f"tools/mutate_kernels.py, {datetime.date.today()}, {platform.machine()}, g++; nothing ran on a GPU. `same`: "
        "compiles to the same instructions. `equal`: read, and found to change no weight that can be stored (reasons "
        "below). Killed: of those left.\n\n| file | mutants | same | equal | killed | share |\n| --- " + "| --- " * 5
    )
    survivors = [o for o in outcomes if not o.verdict]
    found = [f"- {o.words.replace('|', chr(92) + '|')}: {reasons.get(o.words, '**not judged**')}" for o in survivors]
    RESULTS.write_text("\n".join([head + "|", *table(outcomes), "\n## Survivors\n", *found]) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stems", nargs="*", help=f"default: all, and {SHARED}")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, drawn")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--state", type=Path, help="file of verdicts, to go on with another time")
    parser.add_argument("--write", action="store_true", help="keep the table in benchmarks/results/")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    outcomes: list[Outcome] = []
    state = State(args.state)
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        harness = Harness(Path(folder))
        for name, stem, every in files(args.stems):
            drawn = [m for m in every if random.Random(f"{args.seed} {name} {m[:4]}").random() < args.share]
            mine = [Outcome(name, m, verdict) for m, verdict in run(harness, stem, drawn, state)]
            outcomes += mine
            print("\n".join(table(mine) + [f"    {o.words}" for o in mine if not o.verdict]), flush=True)
    if args.write:
        write(outcomes)
    under = [row for row in table(outcomes) if "under the line" in row]
    print(f"{len(outcomes)} mutants, {len(under)} files under {LINE:.0%}")
    return 1 if under else 0


if __name__ == "__main__":
    sys.exit(main())
