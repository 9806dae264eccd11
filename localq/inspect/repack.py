"""How the weights of an opened checkpoint run on a GPU, and whether MLX's mode then holds their very values.

Whether it does may be a fact of the format: nothing is repacked (floats, formats decoded per call, MLX's own), or bytes
are only brought into another order (its float modes without a scale besides). Else it hangs on the values of scales: a
few rows tell of themselves, and only reading all of them tells of the whole; a load does, and `measure` does it here.
"""

from __future__ import annotations

from typing import NamedTuple

from localq.checkpoints.base import Checkpoint, TensorSpec
from localq.errors import LocalqError
from localq.formats import find
from localq.formats.base import EXACTNESS, Format, PackedTensor
from localq.inspect.formats import native_mode, words

_ROWS = 32  # of a matrix, asked for their mode
_FLOATS = ("mxfp4", "mxfp8", "nvfp4")


class Way(NamedTuple):
    """`mode` of MLX's, "reference" for none; `exactness` "" where the weights are not here; `error` in steps.

    `part`: both are what some rows show, not a fact of all.
    """

    mode: str
    exactness: str
    error: float = 0.0
    part: bool = False


def way(checkpoint: Checkpoint, spec: TensorSpec) -> Way:
    """Of one tensor, by some rows of it; of the format's own sample where no weights are here."""
    form = find(spec.format)
    if form is None:
        return Way("", "")
    if form.family == "float":
        return Way("float", "exact")
    found = _of_rows(checkpoint, spec, form) or Way(native_mode(form), "")
    if not found.mode or form.family == "mlx" or found.mode in _FLOATS:
        return Way(found.mode or "reference", "exact")
    return found


def _of_rows(checkpoint: Checkpoint, spec: TensorSpec, form: type[Format]) -> Way | None:
    """None where the tensor cannot tell: not here, damaged, no matrix, or of rows that do not stand alone."""
    if len(spec.shape) < 2:
        return None
    try:
        t = checkpoint[spec.name]
        if not form.has_native(t):
            return Way("", "exact")
        first = _matrix(t, 0) if len(t.shape) > 2 else t
        some = first.rows(slice(0, max(_ROWS, form.row_multiple)))
        native = some.format.to_native(some) if some.format is form else None
    except LocalqError:
        return None
    return None if native is None else Way(words(native), native.exactness, native.error, part=True)


def measure(checkpoint: Checkpoint) -> dict[str, Way]:
    """Every format of a checkpoint -> how it runs, all of its weights repacked and compared.

    Raises:
        CheckpointError: scales that make no weights.
        UsageError: the weights are not here.
    """
    found: dict[str, Way] = {}
    for name, spec in checkpoint.specs.items():
        form = find(spec.format)
        if form is None:
            continue
        t = checkpoint[name]
        one = Way("float" if form.family == "float" else "reference", "exact")
        if form.family != "float" and len(t.shape) > 1 and form.has_native(t):
            one = _measured(t)
        found[spec.format] = _worse(found[spec.format], one) if spec.format in found else one
    return found


def _measured(t: PackedTensor) -> Way:
    if len(t.shape) == 2:
        native = t.format.to_native(t)
        if native is None:
            return Way("reference", "exact")
        return Way(words(native), native.exactness, native.error)
    ways = [_measured(t.matrix(i)) for i in range(t.shape[0])]
    worst = ways[0]
    for one in ways[1:]:
        worst = _worse(worst, one)
    return worst


def _matrix(t: PackedTensor, index: int) -> PackedTensor:
    found = t.matrix(index)
    return found if len(found.shape) == 2 else _matrix(found, 0)


def _worse(a: Way, b: Way) -> Way:
    mode = a.mode if a.mode == b.mode or b.mode in a.mode.split(", ") else f"{a.mode}, {b.mode}"
    known = [str(word) for word in EXACTNESS]  # the better first
    return Way(mode, max(a.exactness, b.exactness, key=known.index), max(a.error, b.error))
