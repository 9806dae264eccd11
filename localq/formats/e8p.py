"""The two codebooks of QuIP#: E8P, 65536 points of the lattice E8 moved by 1/4, and E8's 256 short ones. No format.

An E8P code is 16 bits. The high byte names a vector of half-integers of the lattice's even coset, without signs: 227
of squared length 10 or less in lexicographic order, then 29 of length 12. The low byte has the signs, one bit for
every coordinate; the last one's sign is what makes the sum even, so that of the eight bits one is free: their parity
says whether 1/4 is taken away (odd; the bit of the first coordinate is then flipped back) or added.

Source: A. Tseng et al., QuIP#, arXiv 2402.04396, section 4 and appendix; the order of bits in files as its authors'
`lib/codebook` has it (facts of layout; no line of it is here).
"""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np

from localq.formats.arrays import Floats

SIGN_BITS = (0, 4, 1, 5, 2, 6, 3, 7)  # the bit that has the sign of coordinate 0, 1, ...
# Of length 12: three of eight coordinates are 1/2 (a 1 here; coordinate 0 is the highest bit), the others 3/2.
_LENGTH_12 = bytes.fromhex("70b0d0e0131519161a1c232529262a2c434549464a8c838589868ac831")


@cache
def e8p() -> Floats:
    """Every code's point, float32 `[65536, 8]`."""
    absolute = _absolute()
    code = np.arange(256)
    odd = np.bitwise_count(code.astype(np.uint8)).astype(np.int64) & 1
    bits = (code ^ odd)[:, None] >> np.array(SIGN_BITS) & 1
    signs = (1 - 2 * bits).astype(np.float32)
    found: Floats = absolute[:, None, :] * signs[None] + (0.25 - 0.5 * odd.astype(np.float32))[None, :, None]
    return found.reshape(1 << 16, 8)


def _absolute() -> Floats:
    """The 256 vectors; the last coordinate is negative where their sum would be odd."""
    halves = [0.5, 1.5, 2.5]
    short = [v for v in product(halves, repeat=8) if sum(x * x for x in v) <= 10]
    long = [[0.5 if byte >> (7 - i) & 1 else 1.5 for i in range(8)] for byte in _LENGTH_12]
    found = np.array(short + long, np.float32)
    found[:, 7] *= 1 - 2 * (found.sum(axis=1) % 2)
    return found


@cache
def e8_short() -> Floats:
    """E8's origin and shortest vectors, and 15 of twice their squared length, float32 `[256, 8]`.

    241 of squared length 2 or less, those of integers before those of half-integers, both in lexicographic order;
    then twice the unit vectors, and minus those but the last.
    """
    found = [v for v in product([-1, 0, 1], repeat=8) if sum(map(abs, v)) in (0, 2)]
    halves = [v for v in product([-0.5, 0.5], repeat=8) if sum(v) % 2 == 0]
    double = 2 * np.eye(8)
    return np.concatenate([np.array(found), np.array(halves), double, -double[:7]]).astype(np.float32)
