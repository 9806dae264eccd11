"""Names of numpy's array types for annotations; importing them imports no numpy.

The files of this folder are imported to find out what a tensor is, which needs no numpy (`localq explain` and
`localq fit` answer sooner without it, see cli/start.py), so nothing here or there may touch numpy while it is imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray as NDArray

    Array = NDArray[Any]
    Floats = NDArray[np.float32]
else:
    NDArray = Array = Floats = Any  # annotations are not evaluated
