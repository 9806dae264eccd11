"""One setting of a true config changed: the weights stay what they were, or the checkpoint is refused.

Every setting of every family is tried with the values other files have there. What is accepted must be listed with
the reason why arrays and setting do not contradict each other; what changes the weights, with why nothing could tell.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from localq.errors import LocalqError
from tests.packed.cases import Case, every

SIDES = [[128, 128], [64, 64], [1, 128], None]
OTHERS: dict[str, list[Any]] = {
    **dict.fromkeys(("bits", "w_bit", "nbits", "num_bits"), [2, 3, 4, 7, 8]),
    **dict.fromkeys(("group_size", "q_group_size"), [16, 32, 64, 128, -1]),
    **dict.fromkeys(("sym", "symmetric", "zero_point", "load_in_4bit", "load_in_8bit"), [True, False]),
    **dict.fromkeys(("desc_act", "bnb_4bit_use_double_quant"), [True, False]),
    **dict.fromkeys(("weight_block_size", "block_structure"), SIDES),
    "checkpoint_format": ["gptq", "gptq_v2", "gptq_p"],
    "packing_format": [f"auto_round:{kind}" for kind in ("auto_gptq", "auto_awq", "gptqmodel", "fp8")],
    "version": ["gemm", "gemv", "gemv_fast"],
    "type": ["int", "float"],
    "dtype": ["int4", "uint4", "int8", "fp8_e4m3", "fp4"],
    "strategy": ["tensor", "channel", "group", "block", "tensor_group"],
    "qscheme": ["per_tensor", "per_channel", "per_group"],
    "bnb_4bit_quant_type": ["nf4", "fp4"],
    "axis": [0, 1],
    "quant_algo": ["NVFP4", "FP8", "MXFP8", "W4A16_AWQ", "MXFP4", "FP8_PB_WO", "FP8_PER_CHANNEL_PER_TOKEN"],
    "data_type": ["int", "fp", "mx_fp", "nv_fp"],
    "weights": ["qint8", "qint4", "qint2", "qfloat8_e4m3fn", "qfloat8_e5m2"],
    "quantization_mode": ["online", "offline"],
    "linear_class": ["bitlinear", "autobitlinear"],
    "pack_method": ["reorder", "order"],
    "mode": ["affine", "mxfp4", "mxfp8", "nvfp4"],
    "forward_dtype": ["mxfp4", "nvfp4"],
}
FORMATS = {
    "compressed-tensors": ["pack-quantized", "int-quantized", "float-quantized", "nvfp4-pack-quantized"],
    "bitsandbytes": ["nf4", "fp4", "int8"],
}
# Settings of the module's own weights that may be another with the same weights, and why.
HARMLESS = {
    "axis": "a single column or row is a group either way",
    "bits": "exl3: an average; elsewhere of `extra_config` or a rule for other modules",
    "bnb_4bit_quant_type": "beside int8 weights a default without meaning",
    "checkpoint_format": "codes of 2, 4 and 8 bits lie alike in planes; bitsandbytes' `format` says it already",
    "data_type": "of activations, or a rule for other modules",
    "desc_act": "how the weights were found; `g_idx` is the order",
    "format": "naive-quantized is of bytes of any kind",
    "group_size": "-1 for scales that are not of groups, or a group as long as the row or longer",
    "num_bits": "narrow codes in bytes are 8-bit ones too; a rule for other modules",
    "packing_format": "two names of one layout",
    "quant_algo": "NVFP4 with and without AWQ's or activations' part",
    "quantization_mode": "bitlinear has no modes",
    "strategy": "a row is a group as well",
    "sym": "what is symmetric may be called asymmetric, and floats have no zero points",
    "symmetric": "zero points are stored and read whatever it says",
    "higgs dtype": "of the kernel its writer tuned",
    "quark pack_method": "of 4-bit codes",
    "rotated type": "of the rotation, which is stored as a matrix",
    "version": "of the writer's package",
    "weight_block_size": "of the FP8 modules beside FP4 experts",
    "zero_point": "what is symmetric may be called asymmetric, and the other way round if the points are the middle",
}
# The setting alone decides: two readings of the same arrays, both possible.
DECISIVE = {
    ("gptq", "checkpoint_format"): "asymmetric zero points of v1 and v2 look alike, as do planes and words",
    ("gptq", "packing_format"): "the same, in auto-round's words",
    ("gemma_qat", "num_bits"): "twice as many columns of half the width: the model's sizes tell, one tensor cannot",
    ("quark", "dtype"): "asymmetric 4-bit codes may be signed or not",
    ("quark", "pack_method"): "4-bit codes in AWQ's order or one after the other",
    ("quanto_torchao", "linear_class"): "BitNet's scale multiplies or divides",
}
QUANTIZATION = ("quantization_config", "quantization", "quip_params")


def settings(found: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Every setting with the path to it."""
    if isinstance(found, dict):
        for key, value in found.items():
            yield from settings(value, (*path, key))
    elif isinstance(found, list) and any(isinstance(one, dict) for one in found):
        for at, value in enumerate(found):
            yield from settings(value, (*path, at))
    else:
        yield path, found


def changed(config: dict[str, Any], path: tuple[Any, ...], value: Any) -> dict[str, Any]:
    config = copy.deepcopy(config)
    inner: Any = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return config


def lies(case: Case) -> Iterator[tuple[str, Case]]:
    """Key and the case with another value of it, for every setting of weights that there is."""
    method = str(case.config.get("quantization_config", {}).get("quant_method"))
    for path, true in settings(case.config):
        key = path[-1]
        if path[0] not in QUANTIZATION or {"input_activations", "output_activations", "input_tensors"} & set(path):
            continue
        for other in FORMATS.get(method, []) if key == "format" else OTHERS.get(key, []):
            if other != true:
                yield key, replace(case, config=changed(case.config, path, other))


CASES = [case for case in every() if not case.label.startswith(("exl3", "affine"))]
FILES = sorted({case.label.partition(" ")[0] for case in CASES})


@pytest.mark.parametrize("file", FILES)
def test_no_lie_changes_weights_in_silence(tmp_path: Path, file: str) -> None:
    tried: set[tuple[str, Any]] = set()
    for case in CASES:
        if case.label.partition(" ")[0] != file:
            continue
        try:
            true, right = case.open(tmp_path)
        except LocalqError:
            continue  # refused as it is; its own test says why
        for key, lie in lies(case):
            seen = (true.format.name, str(lie.config))
            if seen in tried:
                continue
            tried.add(seen)
            try:
                t, weights = lie.open(tmp_path)
            except LocalqError as error:
                assert error.message
                continue
            if t.shape == true.shape and np.array_equal(weights, right, equal_nan=True):
                assert {key, f"{file} {key}"} & set(HARMLESS), f"{case.label}: {key} of {lie.config} is accepted"
            else:
                assert (file, key) in DECISIVE, f"{case.label}: {key} of {lie.config} makes other weights"


@pytest.mark.parametrize("file", FILES)
def test_values_of_another_kind_are_errors(tmp_path: Path, file: str) -> None:
    """Of each setting, in the first case that has it: an error of localq's own, if any."""
    tried: set[Any] = set()
    for case in CASES:
        if case.label.partition(" ")[0] != file:
            continue
        for path, _ in settings(case.config):
            if path[0] not in QUANTIZATION or path[-1] in tried:
                continue
            tried.add(path[-1])
            for value in ({"x": 1}, [1], "strange", None, -7, 1e9, True):
                with contextlib.suppress(LocalqError):
                    replace(case, config=changed(case.config, path, value)).open(tmp_path)
