"""Every quantisation format localq knows, one file each: the folder is the registry.

`FORMATS` maps a name (`q4_k`, `affine_4bit_g64`, `bf16`) to its `Format` class. The format files need numpy, so
they are imported on the first look at `FORMATS`; `localq.formats.ggml_types` alone costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.formats.base import Format

    FORMATS: dict[str, type[Format]]


def __getattr__(name: str) -> object:
    if name != "FORMATS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib
    import pkgutil

    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
    from localq.formats.base import _REGISTRY

    globals()["FORMATS"] = _REGISTRY
    return _REGISTRY
