"""Config and arrays that contradict each other: what the arrays are beyond doubt, and what the settings call them.

Arrays decide how a tensor is read; a config that names another scheme belongs to other weights, or was edited. Every
claim below is one a writer makes of a module's own weights; what it says of activations, of how weights were found
(`desc_act`, `iters`) or of other modules (averages, `modules_to_not_convert`) is none. Claims that only the values can
contradict (symmetric: true, narrow codes) are the formats' own, in their `check_scales`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from localq.errors import CheckpointError

if TYPE_CHECKING:
    from localq.formats.base import Format

Settings = Mapping[str, Any]
Claim = tuple[str, bool]  # the config's words, and whether the arrays are that

_MODELOPT = {"NVFP4": "nvfp4", "W4A16_NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "MXFP8": "mxfp8", "MXFP4": "mxfp4"}
_MODELOPT |= dict.fromkeys(("W4A16_AWQ", "INT4_AWQ", "INT4"), "modelopt_int4")
_MODELOPT_GRAINS = {"FP8": ("tensor", "halves"), "FP8_PER_CHANNEL_PER_TOKEN": ("channel",)}
_QUARK = {"fp8_e4m3": "fp8_e4m3", "fp8_e5m2": "fp8_e5m2", "fp4": "mxfp4", "nvfp4": "nvfp4"}
_QUARK |= {"fp6_e3m2": "mxfp6_e3m2", "fp6_e2m3": "mxfp6_e2m3"}
_QUARK |= {kind: f"quark_{kind}" for kind in ("int4", "uint4", "int8", "uint8")}
_COMPRESSED = {  # `format` of compressed-tensors
    **{"pack-quantized": ("ct_int",), "int-quantized": ("ct_bytes",), "naive-quantized": ("fp8", "mxfp8", "ct_bytes")},
    **{"float-quantized": ("fp8", "mxfp8"), "mxfp8-quantized": ("mxfp8",)},
    **{"nvfp4-pack-quantized": ("nvfp4",), "mxfp4-pack-quantized": ("mxfp4",)},
}
_AUTO_ROUND = {"mx_": ("mxfp",), "nv_": ("nvfp4",), "fp": ("fp8",), "int": ("ct_int", "ct_bytes")}


def check_scheme(form: type[Format], settings: Settings | None) -> None:
    """Hold a recognised format to the scheme its module's settings name.

    Raises:
        CheckpointError: they are different ones.
    """
    if not settings or form.family == "float" or form.name.startswith("ct_sparse") and "type" not in settings:
        return
    for said, holds in _CLAIMS.get(str(settings.get("quant_method")), _nothing)(form, settings):
        if not holds:
            raise CheckpointError(
                f"The arrays are {form.name}'s, but the config says {said}.",
                "Config and weights are of different builds: download both again.",
            )


def _nothing(form: type[Format], settings: Settings) -> Iterator[Claim]:
    return iter(())


def _modelopt(form: type[Format], settings: Settings) -> Iterator[Claim]:
    algo = str(settings["quant_algo"])
    right = _MODELOPT.get(algo, "fp8")
    yield f"quant_algo {algo!r}, which is {right}", form.name.startswith(right)
    grains = _MODELOPT_GRAINS.get(algo)
    if grains:
        yield f"quant_algo {algo!r}, which has scales per {grains[0]}", _grain(form) in grains
    if settings.get("type") is not None:
        yield f"type {settings['type']!r}", (settings["type"] == "int") == (right == "modelopt_int4")
    yield from _numbers(form, {"group_size": settings.get("block_size"), **settings})


def _quark(form: type[Format], settings: Settings) -> Iterator[Claim]:
    scheme, group = settings.get("qscheme"), settings.get("group_size")
    right = _QUARK[settings["dtype"]]
    yield f"dtype {settings['dtype']!r}, which is {right}", form.name.startswith(right)
    if scheme == "per_group":
        yield from _numbers(form, settings)
    else:
        yield f"qscheme {scheme!r} and group_size {group!r}", group in (None, 0, -1)
    if settings["dtype"].startswith("fp"):
        yield "symmetric false", settings.get("symmetric") is not False
    if settings["dtype"] == "uint4":  # Quark's symmetric schemes have zero points of 0: no code would be negative
        yield "dtype 'uint4' and symmetric true", settings.get("symmetric") is not True
    if form.name.startswith("fp8"):
        yield f"qscheme {scheme!r}", scheme == f"per_{_grain(form)}"


def _compressed_tensors(form: type[Format], settings: Settings) -> Iterator[Claim]:
    if "data_type" in settings:
        yield from _auto_round(form, settings)
    kind, layout = settings.get("type"), settings.get("format")
    if kind not in ("int", "float"):
        return
    ints = form.name.startswith(("ct_int", "ct_bytes")) or form.name.endswith("_int8")
    yield f"type {kind!r}", ints == (kind == "int")
    yield from _numbers(form, settings, grouped=settings.get("strategy") in ["group", "tensor_group"])
    if form.name.startswith("ct_sparse"):
        return
    if kind == "float":
        yield "symmetric false", settings.get("symmetric") is not False
    right = _COMPRESSED.get(str(layout))
    if right is not None:
        yield f"format {layout!r}, which is {' or '.join(right)}", form.name.startswith(right)
    yield from _strategy(form, settings)


def _strategy(form: type[Format], settings: Settings) -> Iterator[Claim]:
    """Over how many weights a scale goes. A scale (1, 1) is one of a tensor, or of its only output."""
    strategy, group, grain = settings.get("strategy"), settings.get("group_size"), _grain(form)
    known = {"tensor": {"tensor"}, "channel": {"channel", "group"}, "block": {"block"}, "group": {"group"}}
    known["group"] |= {"tensor_group"} if form.name.startswith("nvfp4") else set()
    if strategy is not None and grain in known:
        right = known[grain] | ({"channel", "block"} if getattr(form, "style", "") == "pair" else set())
        yield f"strategy {strategy!r}", isinstance(strategy, str) and strategy in right
    if strategy in ("tensor", "channel", "block"):
        yield f"strategy {strategy!r} and group_size {group!r}", group in (None, 0, -1)


def _auto_round(form: type[Format], settings: Settings) -> Iterator[Claim]:
    data = str(settings["data_type"])
    right = next((starts for begins, starts in _AUTO_ROUND.items() if data.startswith(begins)), None)
    if right is not None:
        yield f"data_type {data!r}, which is {' or '.join(right)}", form.name.startswith(right)
    yield from _numbers(form, settings)


def _fp8(form: type[Format], settings: Settings) -> Iterator[Claim]:
    """DeepSeek's configs have no such keys; auto-round's and gptqmodel's do."""
    group = settings.get("group_size")
    if settings.get("data_type") is not None:
        yield f"data_type {settings['data_type']!r}", str(settings["data_type"]).startswith("fp")
    yield from _numbers(form, settings)
    if isinstance(group, list):
        yield f"group_size {group}", _grain(form) == "block" and group == [form.group_size] * 2
    elif type(group) is int and group > 0:
        yield f"group_size {group}", group == form.group_size
    if form.name.startswith("fp8_inverse"):
        blocks = settings.get("weight_block_size")
        yield f"weight_block_size {blocks!r}", (blocks is not None) == ("_block" in form.name)


def _bitsandbytes(form: type[Format], settings: Settings) -> Iterator[Claim]:
    four, eight, double = (settings.get(key) for key in ("load_in_4bit", "load_in_8bit", "bnb_4bit_use_double_quant"))
    narrow = form.bits == 4
    if four is not None or eight is not None:
        yield f"load_in_4bit {four} and load_in_8bit {eight}", (four is True) == narrow
        yield f"load_in_4bit {four} and load_in_8bit {eight}", (eight is True) != narrow
    if narrow and isinstance(double, bool):
        yield f"bnb_4bit_use_double_quant {double}", double == ("_double" in form.name)
    if "format" in settings:
        yield f"format {settings['format']!r}", form.name.startswith(f"bnb_{settings['format']}")
    yield from _numbers(form, settings)


def _numbers(form: type[Format], settings: Settings, grouped: bool = True) -> Iterator[Claim]:
    """Bits, and the weights that share a scale, where they are said."""
    for key in ("bits", "num_bits"):
        if settings.get(key) is not None:
            yield f"{key} {settings[key]!r}", settings[key] == form.bits
    group = settings.get("group_size")
    if grouped and form.group_size > 0 and type(group) is int and group > 0:
        yield f"group_size {group}", group == form.group_size


def _grain(form: type[Format]) -> str:
    """tensor, halves, channel, block or group; "" where the format's name does not tell."""
    if form.name.startswith("ct_bytes"):
        return {0: "channel", -1: "tensor"}.get(form.group_size, "group")
    if form.name.startswith(("mxfp", "nvfp")):
        return "group"
    return str(getattr(form, "grain", ""))


_CLAIMS: dict[str, Callable[[type[Format], Settings], Iterator[Claim]]] = {
    **{"modelopt": _modelopt, "quark": _quark, "compressed-tensors": _compressed_tensors},
    **{"fp8": _fp8, "bitsandbytes": _bitsandbytes},
}
