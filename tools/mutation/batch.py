"""Mutants compiled many to a file and launched one by one, each in a process that may crash.

The kernels are those of localq_metal, as MLX writes them, in checked mode; the arrays a body hands to a struct have
guards around them, and shifts and indices of arrays whose length is known trap, as in the sanitiser job.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import select
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from localq_metal import source
from tests.metal import harness as harness_file
from tests.metal.harness import CHECKED, FAST, JUNK, NUMPY, Harness, Kernel, KernelError, _aligned, _bytes, _gxx, launch
from tests.metal.translate import PRELUDE, Parameter, plain_casts, translate

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


@dataclass(frozen=True)
class Recorded:
    """One launch: the text that MLX writes for it, and all that it is launched with."""

    text: str
    names: list[str]  # of inputs, then of outputs
    call: dict[str, Any]


@dataclass(frozen=True)
class Trial:
    """A launch whose one result is known: equal bit for bit (NaN to NaN), or within `bound`."""

    recorded: Recorded
    want: np.ndarray
    bound: np.ndarray | None = None

    def passes(self, got: np.ndarray) -> bool:
        got = got.reshape(self.want.shape)
        if self.bound is None:
            return np.array_equal(got, self.want, equal_nan=True)
        return bool(np.isfinite(got).all() and (np.abs(got - self.want) <= self.bound).all())


def recorded(call: Callable[[Any], Any]) -> Recorded:
    """What `call(factory)` launches, once and in float32."""
    seen: list[Recorded] = []

    def factory(**made: Any) -> Any:
        kernel = Kernel(None, CHECKED, made)  # type: ignore[arg-type]

        def run(**how: Any) -> list[mx.array]:
            seen.append(Recorded(kernel.text(how), [*made["input_names"], *made["output_names"]], how))
            return [mx.zeros(how["output_shapes"][0])]

        return run

    call(factory)
    assert len(seen) == 1
    return seen[0]


def tried(harness: Harness, trial: Trial, stem: str, texts: list[str]) -> list[str]:
    """For every text of the struct why it is refused in a trial, "" where it passes."""
    library, parameters = _compiled(harness, trial.recorded, stem, texts)
    if library is None:
        if len(texts) == 1:
            return ["does not compile"]
        half = len(texts) // 2
        return tried(harness, trial, stem, texts[:half]) + tried(harness, trial, stem, texts[half:])
    names, inputs = trial.recorded.names, trial.recorded.call["inputs"]
    stored: dict[str, Any] = {n: _bytes(a, 0) for n, a in zip(names, inputs, strict=False)}
    stored |= {f"{n}_shape": np.array(a.shape, np.int32) for n, a in zip(names, inputs, strict=False)}
    verdicts: list[str] = []
    while len(verdicts) < len(texts):
        verdicts += list(_in_a_process(library, parameters, (trial, stored), range(len(verdicts), len(texts))))
    library.unlink()
    return verdicts


def _compiled(harness: Harness, recorded: Recorded, stem: str, texts: list[str]) -> tuple[Path | None, list[Parameter]]:
    """One library of all texts, None where g++ refuses it; lq_mutant chooses."""
    original, cpp, parameters = source.decoder(stem), "", list[Parameter]()
    assert original in recorded.text
    for at, text in enumerate(texts):
        one, parameters = translate(recorded.text.replace(original, text))
        for word, other in GUARDED:
            one = one.replace(word, other)
        one = one.replace('extern "C" ', "static ")
        cpp += f"namespace lq_m{at} {{\n{one}\n}}\n"
    chosen = "".join(f"case {at}: return lq_m{at}::lq_entry(b, i);\n" for at in range(len(texts)))
    cpp += 'extern "C" { int lq_mutant; __attribute__((no_sanitize("thread")))\n'
    cpp += f"void lq_entry(void* const* b, const lq_ids* i) {{ switch (lq_mutant) {{\n{chosen}}} }} }}\n"
    flags = [f for f in harness.flags(CHECKED) if f != "-g"] + FLAGS
    made = harness.folder / f"{hashlib.sha256(cpp.encode()).hexdigest()[:24]}.cpp"
    made.write_text(plain_casts(cpp))
    library = made.with_suffix(".so")
    try:
        _gxx(*flags, "-include", harness.prelude(flags, PRELUDE), "-c", "-o", made.with_suffix(".o"), made)
        _gxx("-shared", "-o", library, made.with_suffix(".o"), harness.executor)
    except KernelError:
        return None, parameters
    finally:
        made.unlink()
        made.with_suffix(".o").unlink(missing_ok=True)
    return library, parameters


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


def _in_a_process(library: Path, parameters: list[Parameter], given: Given, which: range) -> Iterator[str]:
    """Verdicts on mutants in turn, until all are tried or one ends the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _launches(library, parameters, given, which, writing)
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


def _launches(library: Path, parameters: list[Parameter], given: Given, which: range, writing: int) -> None:
    """Launch the mutants `which`; what is wrong of each goes into the pipe. MLX's threads are not here."""
    trial, stored = given
    call, names = trial.recorded.call, trial.recorded.names
    harness_file._line = lambda library, address: "line ?"  # nobody reads which
    loaded = ctypes.CDLL(str(library))  # held, so that lq_mutant stays
    result, dtype = names[-1], call["output_dtypes"][0]
    size = int(np.prod(call["output_shapes"][0])) * np.dtype(NUMPY[dtype]).itemsize
    for at in which:
        ctypes.c_int.in_dll(loaded, "lq_mutant").value = at
        stored[result] = _aligned(size, 0)
        stored[result][:] = JUNK
        try:
            launch(library, [(stored[p.name], p) for p in parameters], call["grid"], call["threadgroup"], CHECKED)
            verdict = "" if trial.passes(stored[result].view(NUMPY[dtype])) else "differs"
        except KernelError as error:
            verdict = re.sub(r"\s+", " ", str(error))[: RECORD - 1]
        os.write(writing, verdict.encode(errors="replace")[:RECORD].ljust(RECORD))
