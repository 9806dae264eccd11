"""A GGUF file's key/value pairs, read with their types checked, and remembering which were read.

`config.py` and the architecture entries read a file's hyper-parameters only through `ModelKeys`: a key of the file's
architecture that nobody read, and that is not known to be without effect, makes the file unsupported instead of
being dropped silently. No numpy here: `localq explain` passes through.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from localq.errors import CheckpointError, UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from localq.formats.ggml_types import GGMLType

    class Stored(Protocol):
        """What is needed of a GGUF reader's tensor: logical shape outermost first, type, bytes."""

        @property
        def shape(self) -> tuple[int, ...]: ...
        @property
        def type(self) -> GGMLType: ...
        @property
        def nbytes(self) -> int: ...

    Read = Callable[[str], memoryview | bytes]  # stored bytes of a tensor, by its GGUF name

# Keys of an architecture that llama.cpp writes or reads without any effect on the logits of a decoder.
_WITHOUT_EFFECT = {"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "embedding_length_out"}

# Keys that do nothing as long as they hold these values (a switch that is off, a scale of one).
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.clamp_kqv": (0.0,),
    "attention.max_alibi_bias": (0.0,),
    "attention.shared_kv_layers": (0,),
    "attn_logit_softcapping": (0.0,),
    "final_logit_softcapping": (0.0,),
    "expert_count": (0,),
    "expert_gating_func": (1,),  # softmax
    "expert_group_count": (0, 1),
    "expert_group_used_count": (0, 1),
    "expert_shared_count": (0,),
    "expert_shared_feed_forward_length": (0,),
    "expert_used_count": (0,),
    "expert_weights_scale": (0.0, 1.0),
    "leading_dense_block_count": (0,),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "embedding_scale": (0.0, 1.0),
    "pooling_type": (0,),
    "use_parallel_residual": (False,),
}


class ModelKeys:
    """Typed reads of `{architecture}.{key}`.

    Args:
        architecture: GGUF's `general.architecture`, the prefix of its keys.
        metadata: the file's key/value pairs; arrays may be lazy sequences.
        tensors: GGUF name -> stored tensor.
        read: gives the stored bytes of a tensor by its GGUF name (rope factors); None when only names are wanted.
    """

    def __init__(
        self,
        architecture: str,
        metadata: Mapping[str, Any],
        tensors: Mapping[str, Stored],
        read: Read | None = None,
    ) -> None:
        self.architecture = architecture
        self.metadata = metadata
        self.tensors = tensors
        self.read = read
        self._asked: set[str] = set()

    def value(self, key: str) -> Any:
        """The value of `{architecture}.{key}`, None when the file has none."""
        self._asked.add(key)
        return self.metadata.get(f"{self.architecture}.{key}")

    def integer(self, key: str, default: int | None = None) -> int:
        """A whole number; a per-layer array is accepted where all layers agree.

        Raises:
            CheckpointError: missing without a default, or no whole number.
            UnsupportedError: layers differ.
        """
        found = self._same(key, default)
        if isinstance(found, bool) or not isinstance(found, int) or found < 0:
            raise CheckpointError(
                f"The GGUF key '{self.architecture}.{key}' is {brief(found)}; expected a whole number."
            )
        return found

    def number(self, key: str, default: float | None = None) -> float:
        """A finite float, under the rules of `integer`; a float32 is given in its shortest decimal form (1e-06)."""
        found = self._same(key, default)
        if isinstance(found, bool) or not isinstance(found, (int, float)) or not abs(found) < 3.4e38:
            raise CheckpointError(
                f"The GGUF key '{self.architecture}.{key}' is {brief(found)}; expected a finite number."
            )
        return shortest(float(found))

    def text(self, key: str, default: str) -> str:
        """A string."""
        found = self._same(key, default)
        if not isinstance(found, str):
            raise CheckpointError(f"The GGUF key '{self.architecture}.{key}' is {brief(found)}; expected a string.")
        return found

    def flag(self, key: str, default: bool) -> bool:
        """A boolean."""
        found = self._same(key, default)
        if not isinstance(found, bool):
            raise CheckpointError(
                f"The GGUF key '{self.architecture}.{key}' is {brief(found)}; expected true or false."
            )
        return found

    def _same(self, key: str, default: Any) -> Any:
        found = self.value(key)
        if found is None:
            found = default
        if found is None:
            raise CheckpointError(
                f"The GGUF file lacks the key '{self.architecture}.{key}'.",
                "It is no complete model: fetch it again, or use a whole-model file.",
            )
        if not is_array(found):
            return found
        layers = list(found)
        if not layers or any(one != layers[0] for one in layers):
            raise UnsupportedError(
                f"'{self.architecture}.{key}' differs from layer to layer ({brief(layers[:8])}); localq expects one "
                f"value for all layers of this architecture."
            )
        return layers[0]

    @property
    def layers(self) -> int:
        """Number of layers: the blocks less those at the end that predict further tokens (`nextn_predict_layers`)."""
        ahead = self.integer("nextn_predict_layers", 0)
        if ahead >= self.blocks:
            raise CheckpointError(
                f"'{self.architecture}.nextn_predict_layers' is {ahead} of {self.blocks} blocks; one must be left."
            )
        return self.blocks - ahead

    @property
    def blocks(self) -> int:
        """Number of blocks; each has at least one tensor, so a larger count is a lie."""
        count = self.integer("block_count")
        if not 0 < count <= len(self.tensors):
            raise CheckpointError(
                f"'{self.architecture}.block_count' is {count}, but the file holds {len(self.tensors)} tensors."
            )
        return count

    @property
    def heads(self) -> int:
        """Query heads."""
        return self._positive("attention.head_count")

    @property
    def kv_heads(self) -> int:
        """Key and value heads, as many as query heads unless stated; those of the layers that have any."""
        found = self.value("attention.head_count_kv")
        if not is_array(found) or not any(one == 0 for one in found):
            return self._positive("attention.head_count_kv", self.heads)
        some = {one for one in found if one != 0}
        if len(some) != 1:
            self.refuse("attention.head_count_kv")
        only = some.pop()
        if type(only) is not int or only < 1:
            raise CheckpointError(f"'{self.architecture}.attention.head_count_kv' holds {brief(only)}; expected heads.")
        return only

    @property
    def hidden(self) -> int:
        """Width of the residual stream."""
        return self._positive("embedding_length")

    @property
    def head_dim(self) -> int:
        """Width of one head; keys and values must agree."""
        derived = self.hidden // self.heads
        key = self._positive("attention.key_length", derived)
        value = self._positive("attention.value_length", derived)
        if key != value:
            raise UnsupportedError(
                f"'{self.architecture}.attention.key_length' is {key} and value_length {value}; this architecture "
                f"needs them equal."
            )
        return key

    def _positive(self, key: str, default: int | None = None) -> int:
        found = self.integer(key, default)
        if found < 1:
            raise CheckpointError(f"The GGUF key '{self.architecture}.{key}' is {found}; expected at least 1.")
        return found

    def shape(self, name: str) -> tuple[int, ...]:
        """Logical shape of a tensor that must be there."""
        if name not in self.tensors:
            raise CheckpointError(f"The GGUF file lacks the tensor '{name}' that '{self.architecture}' needs.")
        return tuple(self.tensors[name].shape)

    def small(self, name: str) -> list[float] | None:
        """Values of a small 1-D float32 tensor, None when the file has none of that name.

        Raises:
            CheckpointError: the tensor is of another type or rank.
        """
        if name not in self.tensors:
            return None
        if self.read is None:
            raise TypeError(f"'{name}' is wanted, but these keys were built without read")
        tensor = self.tensors[name]
        if tensor.type.name != "f32" or len(tensor.shape) != 1 or tensor.shape[0] > 1024:
            raise CheckpointError(
                f"'{name}' is {tensor.type.name} of shape {tuple(tensor.shape)}; expected a short row of f32."
            )
        return list(struct.unpack(f"<{tensor.shape[0]}f", self.read(name)))

    def refuse(self, *names: str) -> NoReturn:
        """Refuse the file for the values of these keys, read but not of a kind localq computes."""
        held = ", ".join(
            f"{self.architecture}.{name} = {brief(value)}" for name in names if (value := self.value(name)) is not None
        )
        what = f"'s {held}" if held else f", which lacks {', '.join(f'{self.architecture}.{name}' for name in names)}"
        raise UnsupportedError(f"localq does not compute this {self.architecture} file{what}.")

    def refuse_unread(self) -> None:
        """Name every key of this architecture that nobody read and that is not known to change nothing.

        Raises:
            UnsupportedError: such keys exist; running on would silently compute something else.
        """
        prefix = self.architecture + "."
        unread = [full for full in self.metadata if full.startswith(prefix) and not self._harmless(full)]
        if unread:
            shown = [f"{plain(full)} = {brief(self.metadata[full])}" for full in sorted(unread)[:6]]
            more = f" and {len(unread) - 6} more" if len(unread) > 6 else ""
            raise UnsupportedError(
                f"This {self.architecture} file sets what localq does not know for that architecture: "
                f"{', '.join(shown)}{more}.",
                "It may change the computation, so localq does not run it; please report the file.",
            )

    def _harmless(self, full: str) -> bool:
        key = full.removeprefix(self.architecture + ".")
        if key in self._asked or key in _WITHOUT_EFFECT:
            return True
        neutral = _NEUTRAL.get(key)
        return neutral is not None and self._same(key, None) in neutral


def is_array(value: Any) -> bool:
    """True for a list or a reader's lazy array, False for scalars and strings."""
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def shortest(value: float) -> float:
    """The float of fewest digits with the same float32 value: GGUF stores 1e-6 as 9.999999974752427e-07."""
    bits = struct.pack("<f", value)
    for digits in range(1, 10):
        short = float(f"{value:.{digits}g}")
        if struct.pack("<f", short) == bits:
            return short
    return value


def brief(value: Any) -> str:
    """A value from a file for a message: escaped, and short whatever the file holds."""
    if is_array(value) and len(value) > 8:
        return f"[{len(value)} values]"
    text = ascii(value[:40] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def plain(name: str) -> str:
    """A name from a file for a message, as it is or escaped and cut where it could flood or fool a terminal."""
    return name if len(name) <= 100 and name.isascii() and name.isprintable() else brief(name)
