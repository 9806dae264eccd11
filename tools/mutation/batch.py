"""Mutants compiled many to a file and launched one by one, each in a process that may crash.

The kernels are those of localq_metal, as MLX writes them, in checked mode; the arrays a body hands to a struct have
guards around them, and shifts and indices of arrays whose length is known trap, as in the sanitiser job.
"""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from localq_metal import source
from tests.metal import harness as harness_file
from tests.metal.harness import CHECKED, FAST, NUMPY, Harness, KernelError, _gxx
from tests.metal.recorded import Recorded, Trial, library, run
from tests.metal.translate import PRELUDE, Parameter

SECONDS = 60  # of one launch; the sound struct needs a hundredth
FLAGS = ["-fsanitize=bounds,shift,signed-integer-overflow", "-fsanitize-undefined-trap-on-error"]
GUARDED = (  # what bodies hand to a struct -> the same with guards
    (
        "float v[16];",
        "float lq_v[48]; for (uint k = 0; k < 48; k++) lq_v[k] = 1.5e33f; float* v = lq_v + 16;",
    ),
    (
        "uint(K / 16), v);",
        "uint(K / 16), v); for (uint k = 0; k < 16; k++)"
        ' if (lq_v[k] != 1.5e33f || lq_v[k + 32] != 1.5e33f) lq_fail("decode16 writes beyond its 16 weights");',
    ),
    (
        "float xv[piece], sums[Format::SPAN];",
        "float lq_x[piece + 64], lq_s[Format::SPAN + 64];"
        " for (uint k = 0; k < piece + 64; k++) lq_x[k] = NAN;"
        " for (uint k = 0; k < Format::SPAN + 64; k++) lq_s[k] = NAN;"
        " float* xv = lq_x + 32; float* sums = lq_s + 32;",
    ),
)


def tried(harness: Harness, trial: Trial, stem: str, texts: list[str]) -> list[str]:
    """For every text of the struct why it is refused in a trial, "" where it passes."""
    made, parameters = _compiled(harness, trial.recorded, stem, texts)
    if made is None:
        if len(texts) == 1:
            return ["does not compile"]
        half = len(texts) // 2
        return tried(harness, trial, stem, texts[:half]) + tried(harness, trial, stem, texts[half:])
    stored = trial.recorded.inputs()
    verdicts: list[str] = []
    while len(verdicts) < len(texts):
        verdicts += list(_in_a_process(made, parameters, (trial, stored), range(len(verdicts), len(texts))))
    made.unlink()
    return verdicts


def _compiled(
    harness: Harness, recorded: Recorded, stem: str, texts: list[str]
) -> tuple[Path | None, list[list[Parameter]]]:
    """One library of all texts, None where g++ refuses it."""
    original = source.decoder(stem)
    assert original in recorded.text
    try:
        return library(harness, [recorded.text.replace(original, text) for text in texts], CHECKED, FLAGS, _guarded)
    except KernelError:
        return None, []


def _guarded(cpp: str) -> str:
    for word, other in GUARDED:
        cpp = cpp.replace(word, other)
    return cpp


def same_instructions(harness: Harness, texts: list[str], stem: str, other: str) -> bool:
    """Whether a struct compiles to the same assembly as `stem`'s in each of these kernels, optimised, not watched."""
    own = source.decoder(stem)
    headers = [text[: text.index("template <typename")] for text in texts]
    return all(_assembly(harness, h) == _assembly(harness, h.replace(own, other)) for h in headers)


@lru_cache(maxsize=64)
def _assembly(harness: Harness, header: str) -> str:
    cpp = f"""{header}
void decode(const Format* f, size_t row, uint c, float* out) {{ f->decode16(row, c, out); }}
float multiply(const Format* f, size_t row, uint at, float* x, float* sums) {{ return f->dot(row, at, x, sums); }}
"""
    flags = [*(f for f in harness.flags(FAST) if f != "-O1"), "-O2"]
    made = harness.folder / "same.cpp"
    made.write_text(cpp)
    _gxx(*flags, "-include", harness.prelude(flags, PRELUDE), "-S", "-o", made.with_suffix(".s"), made)
    return made.with_suffix(".s").read_text()


Given = tuple[Trial, dict[str, Any]]  # and the bytes of its inputs
RECORD = 96  # bytes of a verdict in the pipe


def _in_a_process(made: Path, parameters: list[list[Parameter]], given: Given, which: range) -> Iterator[str]:
    """Verdicts on mutants in turn, until all are tried or one ends the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _launches(made, parameters, given, which, writing)
        finally:
            os._exit(0)
    os.close(writing)
    try:
        for _ in which:
            ready, _, _ = select.select([reading], [], [], SECONDS)
            verdict = os.read(reading, RECORD) if ready else b""
            if not verdict:
                yield "crashes" if ready else "does not end"
                return
            yield verdict.decode(errors="replace").strip()
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def _launches(made: Path, parameters: list[list[Parameter]], given: Given, which: range, writing: int) -> None:
    """Launch the mutants `which`; what is wrong of each goes into the pipe. MLX's threads are not here."""
    trial, stored = given
    dtype = trial.recorded.call["output_dtypes"][0]
    harness_file._line = lambda library, address: "line ?"  # nobody reads which
    for at in which:
        try:
            out = run(made, at, trial, stored, parameters[at], CHECKED)
            verdict = "" if trial.passes(out.view(NUMPY[dtype])) else "differs"
        except KernelError as error:
            verdict = re.sub(r"\s+", " ", str(error))[: RECORD - 1]
        os.write(writing, verdict.encode(errors="replace")[:RECORD].ljust(RECORD))
