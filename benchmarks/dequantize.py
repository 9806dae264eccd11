"""How fast numpy decodes each ggml type, against gguf-py's own decoder, in one run.

    python benchmarks/dequantize.py [--rows 2048] [--columns 4096] [--repeats 9] [TYPE ...]

Both decode the same random blocks, in turns; the ratio is of the best times (gguf-py / localq: 2 means twice as
fast). Exit code 1 where a type is slower than gguf-py's or the geometric mean is under 1.5. q1_0 and q2_0, which
gguf-py does not decode, are timed and not compared.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Callable

import gguf
import numpy as np

from localq.formats import FORMATS
from localq.formats.base import GGMLFormat, PackedTensor

MISSING_IN_GGUF_PY = {"q1_0", "q2_0"}
LEAST_MEAN = 1.5


def random_tensor(fmt: type[GGMLFormat], rows: int, columns: int) -> PackedTensor:
    """A matrix of random bytes; its scales are whatever that gives, as no decoder's speed depends on them."""
    stored = np.random.default_rng(0).integers(0, 256, fmt.layout((rows, columns))["weight"].shape, dtype=np.uint8)
    extra = {n: np.ones(p.shape, p.dtype) for n, p in fmt.layout((rows, columns)).items() if n != "weight"}
    return PackedTensor(fmt, (rows, columns), {"weight": stored, **extra})


def best_of(repeats: int, *decoders: Callable[[], object]) -> list[float]:
    """Least seconds of each, called in turns so that a busy moment of the machine meets all of them."""
    best = [math.inf] * len(decoders)
    for _ in range(repeats):
        for i, decode in enumerate(decoders):
            start = time.perf_counter()
            decode()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def main() -> int:
    ggml = {name: fmt for name, fmt in FORMATS.items() if issubclass(fmt, GGMLFormat)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("types", nargs="*", metavar="TYPE", help=f"of {', '.join(ggml)}; default all")
    parser.add_argument("--rows", type=int, default=2048)
    parser.add_argument("--columns", type=int, default=4096)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    if unknown := set(args.types) - set(ggml):
        parser.error(f"no such type: {', '.join(sorted(unknown))}")
    weights = args.rows * args.columns
    print(f"{args.rows} x {args.columns} weights, ns a weight, best of {args.repeats}, localq and gguf-py in turns")
    print(f"{'type':12}{'localq':>8}{'gguf-py':>9}{'ratio':>7}")
    ratios = {}
    for name in args.types or ggml:
        t = random_tensor(ggml[name], args.rows, args.columns)
        decoders: list[Callable[[], object]] = [t.dequantize]
        if name not in MISSING_IN_GGUF_PY:
            kind = gguf.GGMLQuantizationType[name.removesuffix("_ggml").upper()]
            stored = t.parts["weight"]
            decoders.append(lambda stored=stored, kind=kind: gguf.dequantize(stored, kind))
        with np.errstate(all="ignore"):
            ours, *theirs = (1e9 * seconds / weights for seconds in best_of(args.repeats, *decoders))
        if theirs:
            ratios[name] = theirs[0] / ours
            print(f"{name:12}{ours:8.2f}{theirs[0]:9.2f}{ratios[name]:7.2f}", flush=True)
        else:
            print(f"{name:12}{ours:8.2f}{'-':>9}{'-':>7}", flush=True)
    return verdict(ratios)


def verdict(ratios: dict[str, float]) -> int:
    """Print the geometric mean and the slowest; 1 where a bound is broken."""
    if not ratios:
        return 0
    mean = math.exp(sum(map(math.log, ratios.values())) / len(ratios))
    slowest = min(ratios, key=ratios.__getitem__)
    print(f"geometric mean {mean:.2f} (at least {LEAST_MEAN}), least {ratios[slowest]:.2f} of {slowest} (at least 1)")
    return int(ratios[slowest] < 1 or mean < LEAST_MEAN)


if __name__ == "__main__":
    sys.exit(main())
