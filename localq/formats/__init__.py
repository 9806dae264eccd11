"""Every quantisation format localq knows, one file each: the folder is the registry.

`FORMATS` maps a name (`q4_k`, `affine_4bit_g64`, `bf16`) to its `Format` class. The format files need numpy, so
they are imported on the first look at `FORMATS`; `localq.formats.ggml_types` alone costs nothing.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.formats.base import Format

    FORMATS: dict[str, type[Format]]


def find(name: str) -> type[Format] | None:
    """The format or the variant of a family called `name`, None where there is none."""
    from localq.formats.base import made

    if made(name) is not None:  # as for every tensor of an opened checkpoint
        return made(name)
    from localq.formats import FORMATS  # by way of __getattr__

    known = FORMATS.get(name)
    variants = (family.find(name) for family in FORMATS.values()) if known is None else ()
    return known or next((v for v in variants if v is not None), None)


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
