"""Config and arrays that contradict each other: what the arrays are beyond doubt, and what the settings call them.

Arrays decide how a tensor is read; a config that names another scheme belongs to other weights, or was edited. ModelOpt
says `quant_algo`, Quark `dtype`, compressed-tensors `type` and `num_bits` (its `format` may be that of another group).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from localq.errors import CheckpointError

if TYPE_CHECKING:
    from localq.formats.base import Format

_MODELOPT = {"NVFP4": "nvfp4", "W4A16_NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "MXFP8": "mxfp8", "MXFP4": "mxfp4"}
_MODELOPT |= dict.fromkeys(("W4A16_AWQ", "INT4_AWQ", "INT4"), "modelopt_int4")
_QUARK = {"fp8_e4m3": "fp8_e4m3", "fp8_e5m2": "fp8_e5m2", "fp4": "mxfp4", "nvfp4": "nvfp4"}
_QUARK |= {"fp6_e3m2": "mxfp6_e3m2", "fp6_e2m3": "mxfp6_e2m3"}
_QUARK |= {kind: f"quark_{kind}" for kind in ("int4", "uint4", "int8", "uint8")}
_FLOATS: dict[Any, tuple[str, ...]] = {8: ("fp8", "mxfp8"), 4: ("nvfp4", "mxfp4")}


def check_scheme(form: type[Format], settings: Mapping[str, Any] | None) -> None:
    """Hold a recognised format to the scheme its module's settings name.

    Raises:
        CheckpointError: they are different ones.
    """
    if not settings or form.family == "float" or "sparse" in form.name:
        return
    method = settings.get("quant_method")
    if method == "modelopt" and settings.get("quant_algo"):
        algo = str(settings["quant_algo"])
        _require(form, f"quant_algo {algo!r}", (_MODELOPT.get(algo, "fp8"),))
    elif method == "quark" and settings.get("dtype"):
        _require(form, f"dtype {settings['dtype']!r}", (_QUARK[settings["dtype"]],))
    elif method == "compressed-tensors" and settings.get("type") in ("int", "float"):
        kind, bits = settings["type"], settings.get("num_bits")
        starts = ("ct_",) if kind == "int" else _FLOATS.get(bits, ())
        _require(form, f"type {kind!r} of {bits!r} bits", starts)
        _check_floats(form, settings)
    elif (
        method == "bitsandbytes"
        and settings.get("load_in_4bit") is False
        and form.name.startswith(("bnb_nf4", "bnb_fp4"))
    ):
        _require(form, "load_in_4bit false", ("bnb_int8",))


def _check_floats(form: type[Format], settings: Mapping[str, Any]) -> None:
    """Strategy and symmetry of 8-bit floats, whose arrays say both."""
    grain, strategy = getattr(form, "grain", None), settings.get("strategy")
    if settings["type"] == "float" and settings.get("symmetric") is False:
        _require(form, "symmetric false", ("ct_",))
    sure = grain == "channel" or (grain == "tensor" and getattr(form, "style", "") != "pair")  # (1, 1): of one output?
    if sure and strategy in ("tensor", "channel") and grain != strategy:
        _require(form, f"strategy {strategy!r}", (f"fp8_e4m3_{strategy}", f"fp8_e5m2_{strategy}"))


def _require(form: type[Format], said: str, starts: tuple[str, ...]) -> None:
    if not form.name.startswith(starts):
        expected = " or ".join(starts) or "8 or 4 bits"
        raise CheckpointError(
            f"The arrays are {form.name}'s, but the config says {said}, which is {expected}.",
            "Config and weights are of different builds: download both again.",
        )
