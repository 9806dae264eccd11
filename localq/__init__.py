"""localq: reads, explains and runs quantised language models from any checkpoint.

Importing it imports nothing heavy: every public name is fetched when it is first used (PEP 562).
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.api import Model, load
    from localq.checkpoints import Checkpoint, open_checkpoint
    from localq.errors import (
        CheckpointError,
        DoesNotFitError,
        LocalqError,
        NotFoundError,
        UnsupportedError,
        UsageError,
    )
    from localq.formats.base import PackedTensor
    from localq.labels import Label, read_label

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DoesNotFitError",
    "Label",
    "LocalqError",
    "Model",
    "NotFoundError",
    "PackedTensor",
    "UnsupportedError",
    "UsageError",
    "load",
    "open_checkpoint",
    "read_label",
]

_HOMES = {
    "Checkpoint": "localq.checkpoints",
    "Label": "localq.labels",
    "Model": "localq.api",
    "PackedTensor": "localq.formats.base",
    "load": "localq.api",
    "open_checkpoint": "localq.checkpoints",
    "read_label": "localq.labels",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'localq' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(_HOMES.get(name, "localq.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
