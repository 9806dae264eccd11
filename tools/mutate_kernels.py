"""Mutants of every decode struct, and whether the checks would see them: python tools/mutate_kernels.py [STEM ...]

A mutant is a struct with one token changed (an operator, a number, a shift). It is killed when its weights, decoded in
checked mode, or its product with a vector, are not those of the format, when the executor reports it or when it does
not compile. A survivor whose text compiles to the same instructions, or that no stored code can tell from the original,
changes nothing; what survives is printed, to be read. Needs g++.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localq_metal import source  # noqa: E402
from localq_metal.dequantize import dequantize  # noqa: E402
from localq_metal.qmv import qmv  # noqa: E402
from tests.metal.blocks import STEMS, every_kind, oracle, ordinary, packed  # noqa: E402
from tests.metal.harness import CHECKED, Harness, KernelError  # noqa: E402
from tests.metal.test_layouts import NAMES, drawn, held  # noqa: E402

TOKEN = re.compile(r"<<|>>|<=|>=|==|!=|\+\+|--|[-+*/%&|^<>?]=?|\b0x[0-9a-fA-F]+u?\b|\b\d+\.\d+f\b|\b\d+u?\b")
OTHERS = {
    **{"<<": ">>", ">>": "<<", "<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="},
    **{"+": "-", "-": "+", "*": "+", "/": "*", "%": "/", "&": "|", "|": "&", "^": "|"},
    **{"+=": "-=", "-=": "+=", "|=": "&=", "&=": "|=", "^=": "|="},
}
CLOSE = 1e-4  # relative rms of a product that passes; sums of floats in another order stay below 1e-6


def mutants(text: str) -> Iterator[tuple[int, str, str, str]]:
    """Line, old token, new token, text of every mutant; declarations of members and comments are left alone."""
    begins = 0
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        code = line.split("//")[0]
        if not re.match(r"\s*(const device \w+\* \w+;|struct|enum|uint rows|METAL_FUNC|#)", code):
            for found in TOKEN.finditer(code):
                other = _other(code, found)
                if other is not None:
                    at = begins + found.start()
                    yield number, found[0], other, text[:at] + other + text[at + len(found[0]) :]
        begins += len(line)


def _other(code: str, found: re.Match[str]) -> str | None:
    token = found[0]
    if token[0].isdigit():
        if token.endswith("f") and "x" not in token:
            return f"{float(token[:-1]) + 1}f"
        plain = token.removesuffix("u")
        return f"{int(plain, 0) + 1}" + ("u" if token.endswith("u") else "")
    before, after = code[: found.start()].rstrip(), code[found.end() :]
    if token in "*&" and (before.endswith(("uint8_t", "ushort", "uint", "half", "float", "uint64_t", "(", "return"))):
        return None  # a pointer's star
    if token in "-+" and (not before or before[-1] in "(,=?:<>*/+-"):
        return None  # a sign
    if token in "<>" and (re.search(r"(as_type|select)$", before) or after.startswith("(")):
        return None  # a template's bracket
    return OTHERS.get(token)


def case(name: str) -> tuple[Any, np.ndarray]:
    """What a stem's struct decodes in the tests, and what that should give; NaN counts as equal to itself."""
    if name in STEMS:
        t = every_kind(name, 512)
        return packed(t), oracle(t)
    raise KeyError(name)


def killed(harness: Harness, text: str, name: str, one: Any, want: np.ndarray, plain: Any) -> bool:
    """Whether a struct's text is told from the right one."""
    real = harness.factory(CHECKED)

    def changed(**made: Any) -> Any:
        return real(**{**made, "header": made["header"].replace(source.decoder(one.stem), text)})

    ordinary_one, x, product = plain
    try:
        got = np.array(dequantize(changed, one, mx.float32))
        if not np.array_equal(got, want, equal_nan=True):
            return True
        y = np.array(qmv(changed, ordinary_one, x))
    except KernelError:
        return True
    size = float(np.sqrt(np.mean(product**2)))
    return not float(np.sqrt(np.mean((y - product) ** 2))) < CLOSE * size


def run(harness: Harness, name: str, share: float, seed: int) -> tuple[int, int, list[str]]:
    """Mutants tried, killed, and the survivors in words."""
    if name in STEMS:
        one, want = case(name)
        t = ordinary(name, (5, 512))
        small, w = packed(t), oracle(t)
    else:
        t = drawn(name)
        one = small = held(t)
        real = harness.factory(CHECKED)
        want = w = np.array(dequantize(real, one, mx.float32))  # its equality with the reference is tested elsewhere
    x = mx.random.normal((1, small.shape[1]), key=mx.random.key(0))
    plain = (small, x, np.array(x).astype(np.float64) @ w.astype(np.float64).T)
    text = source.decoder(one.stem)
    assert not killed(harness, text, name, one, want, plain), f"{name}: the struct itself is refused"
    chosen = [m for m in mutants(text) if random.Random(f"{seed} {name} {m[:3]}").random() < share]
    tried = dead = 0
    survivors = []
    for line, old, new, mutant in chosen:
        tried += 1
        if killed(harness, mutant, name, one, want, plain):
            dead += 1
        else:
            survivors.append(f"{name} line {line}: {old} -> {new}: {mutant.splitlines()[line - 1].strip()}")
    return tried, dead, survivors


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stems", nargs="*", help="ggml stems, or formats of tests/metal/test_layouts; default: all")
    parser.add_argument("--share", type=float, default=1.0, help="of the mutants, drawn")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    names = args.stems or [*sorted(STEMS), *NAMES]
    total = dead = 0
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder, np.errstate(all="ignore"):
        harness = Harness(Path(folder))
        for name in names:
            tried, killed_here, survivors = run(harness, name, args.share, args.seed)
            total, dead = total + tried, dead + killed_here
            print(f"{name}: {killed_here} of {tried} killed", flush=True)
            for survivor in survivors:
                print(f"    {survivor}", flush=True)
    print(f"{dead} of {total} mutants killed ({dead / max(total, 1):.1%})")
    return 0 if dead >= 0.95 * total else 1


if __name__ == "__main__":
    sys.exit(main())
