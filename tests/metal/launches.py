"""The launches that one step of a model would make on a GPU, read off the graph that MLX records while exporting it.

Every node of the graph is a launch except those that only look at memory in another way. What MLX has one kernel for on
a GPU, and takes apart on a CPU (norms, rope, attention), is stood in for by one node of that name. Functions that
models compile count as MLX would fuse them: one launch for what is elementwise. Copies that a reshape of a transposed
array may need are not counted: for one token there are none.
"""

from __future__ import annotations

import contextlib
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import pytest

VIEWS = {
    "Reshape", "Broadcast", "Transpose", "ExpandDims", "Squeeze", "Slice", "AsStrided", "Flatten", "Unflatten",
    "StopGradient", "Depends", "Split", "View", "Contiguous",
}  # fmt: skip

_COMPILED = mx.compile(lambda x: x)


def _opaque(name: str, result: Callable[..., mx.array]) -> Callable[..., mx.array]:
    """What is one launch on a GPU: one node, of the shape and dtype that `result` says."""

    def call(*arguments: Any, **keywords: Any) -> mx.array:
        inputs = [a for a in (*arguments, *keywords.values()) if isinstance(a, mx.array)]
        like = result(*arguments)
        kernel = mx.fast.metal_kernel(
            name=name, input_names=[f"i{n}" for n in range(len(inputs))], output_names=["o"], source="o[0] = i0[0];"
        )
        return kernel(
            inputs=inputs, grid=(1, 1, 1), threadgroup=(1, 1, 1), output_shapes=[like.shape], output_dtypes=[like.dtype]
        )[0]

    return call


@contextlib.contextmanager
def as_on_a_gpu() -> Iterator[None]:
    """Norms, rope and attention are one node each."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("rms_norm", "layer_norm", "rope", "scaled_dot_product_attention"):
            patch.setattr(mx.fast, name, _opaque(name, lambda x, *rest: x))
        for module in [m for n, m in sys.modules.items() if n.startswith(("mlx_lm.models.", "mlx.nn."))]:
            for name, value in list(vars(module).items()):
                if isinstance(value, type(_COMPILED)):
                    patch.setattr(module, name, _opaque("compiled", lambda *given: given[-1]))
        yield


def launches(step: Callable[..., Any], *inputs: mx.array) -> Counter[str]:
    """How many launches of each kind `step(*inputs)` makes."""
    found: Counter[str] = Counter()

    def event(what: dict[str, Any]) -> None:
        if what["type"] == "primitive" and what["name"] not in VIEWS:
            name = what["arguments"][0] if what["name"] == "CustomKernel" else what["name"]
            found[re.sub(r"^custom_kernel_|_(?:float|bfloat16_t|half|uint\w*|N?\d+).*", "", name)] += 1

    with as_on_a_gpu():
        mx.export_function(event, step, *inputs)
    return found


def per_layer(model: Callable[[int], Callable[[mx.array], Any]], layers: int = 2) -> Counter[str]:
    """Launches that one layer more costs: of a model with `layers` and one less of one with `layers`, else equal."""
    less, more = (launches(model(count), mx.array([[1]])) for count in (layers, layers + 1))
    return more - less
