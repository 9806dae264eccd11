"""Hadamard matrices whose order is no power of two, as QuIP# has them: H [order, order] of 1 and -1. No format.

There are many of an order, and only the very one a file was written with undoes its rotation. These are the ones of
N. Sloane's library (neilsloane.com/hadamard) that QuIP# chose, given by their constructions instead of as tables:

    12, 20, 60, 108, 140   Paley's first: q = order - 1; ones in column 0, -1 in the rest of row 0, else a circulant
                           matrix of ones on its diagonal and -chi(column - row)
    28, 36                 Paley's second: q = order / 2 - 1; C the conference matrix of q, [[C+I, C-I], [C-I, -C-I]]
    52 ... 172             Williamson's: four symmetric circulant matrices in the places of a quaternion's parts

chi(x) is 1 for the squares modulo the prime q, -1 for the others, 0 for 0. 139, 107, 59, 19, 11, 13, 17 are primes.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from localq.formats.arrays import Floats, NDArray
from localq.formats.hadamard import transform

ORDERS = (172, 156, 140, 124, 116, 108, 60, 52, 36, 28, 20, 12)  # a length is divided by the first that divides it
_PALEY_1, _PALEY_2 = (12, 20, 60, 108, 140), (28, 36)
# The first rows of Williamson's four matrices, as binary numbers; a 1 is a one, a 0 is a -1.
_WILLIAMSON = {
    52: (0x14F2, 0x11F8, 0x1A65, 0x1090),
    116: (0x192EF749, 0x1ED1F8B7, 0x1465FA62, 0x1C650A63),
    124: (0x4E90C25C, 0x4E90C25C, 0x41D4CAE0, 0x7E2B351F),
    156: (0x7282619053, 0x7898528647, 0x73452128B3, 0x46A0EDC158),
    172: (0x467AECDD798, 0x6FC29B650FD, 0x7595E85EA6B, 0x63D260192F1),
}
# block (row, column) of Williamson's array: which of the four, and its sign
_QUATERNION = (
    *(((0, 1), (1, 1), (2, 1), (3, 1)), ((1, -1), (0, 1), (3, -1), (2, 1))),
    *(((2, -1), (3, 1), (0, 1), (1, -1)), ((3, -1), (2, -1), (1, 1), (0, 1))),
)


def factors(length: int) -> tuple[int, int] | None:
    """`length` as an order of the above (or 1) times a power of two; None where it is no such product.

    The first order that divides it is taken, as QuIP# does, whether or not what is left is a power of two.
    """
    order = next((n for n in ORDERS if length % n == 0), 1)
    rest = length // order
    return (order, rest) if rest > 0 and rest & (rest - 1) == 0 else None


@cache
def odd_matrix(order: int) -> Floats:
    """H, float32 `[order, order]`, for 1 and the orders above; not symmetric in general."""
    if order == 1:
        found = np.ones((1, 1), np.float32)
    elif order in _PALEY_1:
        found = _bordered(order)
    elif order in _PALEY_2:
        found = _doubled(order)
    else:
        rows = [_row(bits, order // 4) for bits in _WILLIAMSON[order]]
        found = np.block([[sign * _circulant(rows[part]) for part, sign in line] for line in _QUATERNION])
    found.setflags(write=False)
    return found


def product(rows: Floats, transposed: bool = False) -> Floats:
    """`(H_order kron H_2^k) @ x / sqrt(n)` for every vector x of the last axis `[..., n]`; H_order transposed if asked.

    x is cut into `order` runs of a power of two: each is transformed in Sylvester's order, then H_order mixes them.
    """
    found = factors(rows.shape[-1])
    assert found is not None, rows.shape
    order, rest = found
    h = odd_matrix(order).T if transposed else odd_matrix(order)
    turned = sylvester(rows.reshape(-1, order, rest))
    mixed = h @ turned if order > 1 else turned
    mixed *= np.float32(1 / np.sqrt(rows.shape[-1]))
    return mixed.reshape(rows.shape)


def sylvester(rows: Floats) -> Floats:
    """`H @ x` for every vector x of the last axis, whose length is any power of two, in Sylvester's order."""
    length = rows.shape[-1]
    low = length if length <= 128 else min(128, 1 << (length.bit_length() // 2))  # about its root: few, full products
    found = transform(np.ascontiguousarray(rows), low)
    if low == length:
        return found
    high = found.reshape(*rows.shape[:-1], length // low, low)
    return np.ascontiguousarray(sylvester(high.swapaxes(-1, -2)).swapaxes(-1, -2)).reshape(rows.shape)


def _chi(q: int) -> NDArray[np.int64]:
    found = np.full(q, -1)
    found[np.arange(1, q) ** 2 % q] = 1
    found[0] = 0
    return found


def _row(bits: int, length: int) -> NDArray[np.int64]:
    return np.array([2 * (bits >> i & 1) - 1 for i in reversed(range(length))])


def _circulant(row: NDArray[np.int64]) -> Floats:
    """Every row is the one above moved right by one."""
    at = np.arange(len(row))
    found: Floats = row[at[None] - at[:, None]].astype(np.float32)
    return found


def _bordered(order: int) -> Floats:
    found = np.ones((order, order), np.float32)
    found[0, 1:] = -1
    found[1:, 1:] = -_circulant(_chi(order - 1))
    np.fill_diagonal(found, 1)
    return found


def _doubled(order: int) -> Floats:
    half = order // 2
    conference = np.ones((half, half), np.float32)
    conference[1:, 1:] = _circulant(_chi(half - 1))
    conference[0, 0] = 0
    one = np.eye(half, dtype=np.float32)
    found: Floats = np.block([[conference + one, conference - one], [conference - one, -conference - one]])
    return found
