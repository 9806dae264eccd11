"""Writes localq/kernels/golden.json and golden_peers.json, the stored cases of `localq doctor --kernels`.

python -m tools.golden        weights are decoded by gguf-py and ggml now; those of other packages are the fixtures' of
tests/packed, which tools/fixtures made with the packages themselves
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from localq.checkpoints import open_checkpoint
from localq.formats.base import PackedTensor
from localq.kernels import golden
from tests.metal.blocks import oracle
from tests.packed import (
    test_bytes,
    test_compressed_tensors,
    test_exl3,
    test_fp8,
    test_gptqmodel_fp8,
    test_modelopt,
    test_quark,
)
from tests.packed.fixtures import NAME, Variant, read, variants
from tests.packed.fixtures import loaded as packed_module

ROOT = Path(__file__).resolve().parent.parent

DRAWN = 16384  # codes from here on are those of the generators' rule
CASES = (  # package, fixture file, variants: one of every way a tensor is laid out for a kernel
    ("gptqmodel", "gptq", ("v1_3_asym_wrap", "v2_4_order", "p_5_asym")),
    ("auto-round", "gptq", ("ar_2",)),
    ("gptqmodel", "awq", ("gemm_4", "gemv_128", "fast_128")),
    ("llm-awq", "llm_awq", ("g64",)),
    ("compressed-tensors", "compressed_tensors", ("int2_group32_asym_v20", "int3_group64_asym_v12", "int8_channel")),
    ("hqq", "hqq", ("b3_axis1", "b4_axis0", "b2_axis1")),
    ("bitsandbytes", "bitsandbytes", ("fp4", "nf4", "nf4_double")),
    ("aqlm", "codebooks", ("aqlm_3x6_1",)),
    ("vptq", "codebooks", ("vptq_main", "vptq_outliers", "vptq_residual")),
    ("transformers", "fp8", ("blocks", "blocks_ue8m0")),
    ("optimum-quanto", "quanto_torchao", ("quanto_e4m3", "quanto_e5m2")),
    ("torchao", "quanto_torchao", ("torchao_int8", "torchao_float8")),
    ("nvidia-modelopt", "modelopt", ("int4_awq",)),
    ("quip-sharp", "quip", ("2_plain", "4_override")),
    ("flute", "higgs", ("4_pairs_bf16",)),
    ("spqr_quant", "spqr", ("csr", "ptcsr")),
    ("compressed-tensors", "ct_sparse", ("24_bf16", "24_int8")),
    ("gptqmodel", "gptqmodel_fp8", ("row", "block")),
    ("amd-quark", "quark", ("mxfp6_e2m3", "mxfp6_e3m2")),
    ("exllamav3", "exl3", ("1", "1.5mul1")),
)


def main() -> int:
    found = {}
    for fmt in golden.examples():
        t = golden.tensor(fmt)
        found[fmt.name] = (golden.stored(t), golden.hashed(oracle(t)))
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(pair)}" for name, pair in sorted(found.items()))
    (ROOT / "localq/kernels/golden.json").write_text(f"{{\n{rows}\n}}\n")
    peers = [case(package, file, name) for package, file, names in CASES for name in names]
    lines = ",\n".join(json.dumps(one) for one in peers)
    (ROOT / "localq/kernels/golden_peers.json").write_text(f"[\n{lines}\n]\n")
    print(f"{len(found)} cases of gguf-py and ggml, {len(peers)} of other packages")
    return 0


def case(package: str, file: str, name: str) -> dict[str, Any]:
    """A fixture's tensor as localq reads it, with the weights its package made of it."""
    told: dict[str, Any]
    if file == "exl3":
        t, told = _exl3(name)
    else:
        variant = variants(f"{file}.safetensors")[name]
        t, told = loaded(file, name, variant), {"sha256": variant.sha256}
        if "weights" in variant.parts:  # of rotated formats two rows; the hash is of what lies between the rotations
            told = {"at": [1, -2], "rows": _coded(variant.parts["weights"].astype(np.float32))}
    parts = {n: _stored(np.asarray(a)) for n, a in sorted(t.parts.items())}
    return {"package": package, "format": t.format.name, "shape": list(t.shape), **told, "parts": parts}


def loaded(file: str, name: str, variant: Variant) -> PackedTensor:
    """Read back as the fixture's own test does."""
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        if file == "quanto_torchao":
            return _kept(test_bytes.load(where, variant))
        if file == "modelopt":
            return _kept(test_modelopt.load(where, test_modelopt.parts_of(name), variant.config["quantization_config"]))
        if file == "quark":
            return _kept(packed_module(where, test_quark.parts_of(name), test_quark.config_of(name)))
        if file == "gptqmodel_fp8":
            with open_checkpoint(test_gptqmodel_fp8.write(where, name, {})) as checkpoint:
                return _kept(checkpoint[f"{NAME}.weight"])
        if file == "fp8":
            drawn = golden.array("float8_e4m3fn", list(variant.shape), "drawn")
            return _kept(test_fp8.load(where, {**variant.parts, "weight": drawn}, variant.config))
        if file == "compressed_tensors":
            return _kept(read(where, test_compressed_tensors.parts_of(name), variant.config))
        return _kept(read(where, {n: a for n, a in variant.parts.items() if n != "weights"}, variant.config))


def _kept(t: PackedTensor) -> PackedTensor:
    """In memory of its own: the file goes."""
    return PackedTensor(t.format, t.shape, {n: np.array(a) for n, a in t.parts.items()})


def _exl3(name: str) -> tuple[PackedTensor, dict[str, Any]]:
    tensors, cases = test_exl3.peers()
    bits, book = cases[name]["bits"], cases[name]["book"]
    parts = {"trellis": np.ascontiguousarray(tensors["trellis"][..., : int(16 * bits)])}
    parts |= {n: tensors[n] for n in ("suh", "svh")} | ({book: test_exl3.MARK[book]} if book else {})
    with tempfile.TemporaryDirectory() as folder:
        t = _kept(read(Path(folder), parts, test_exl3.CONFIG))
    return t, {"at": [1, -2], "rows": _coded(tensors[f"rows.{name}"])}


def _stored(a: np.ndarray) -> list[Any]:
    name = a.dtype.name
    drawn = a.size >= DRAWN and np.array_equal(a.view(np.uint8), golden.array("uint8", list(a.shape), "drawn"))
    return [name, list(a.shape), "drawn" if drawn else _coded(a)]


def _coded(a: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(a).tobytes()).decode()


if __name__ == "__main__":
    sys.exit(main())
