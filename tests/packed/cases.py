"""Every family of formats as a stored module, ready to be damaged or lied about: the fixtures and, for the few that
have none, what localq's own `sample` makes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from localq.checkpoints import open_checkpoint
from localq.errors import UnsupportedError
from localq.formats import FORMATS
from localq.formats.base import Format, PackedTensor
from tests.packed import test_exl3, test_rotated
from tests.packed.fixtures import NAME, Variant, files, variants
from tests.packed.rawfile import save

ELSEWHERE = {"exl3", "rotated"}  # files of another make
REFUSED = {"quark amdfp4"}  # by name
COMPARED = {"weights", "effective"}  # of fixtures: values to compare with, no part of the module
QUIP = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 96}
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Case:
    """One module: its arrays by the names of their parts, and the files around it."""

    label: str
    parts: dict[str, np.ndarray]
    config: dict[str, Any]  # config.json
    module: str = NAME
    files: dict[str, Any] = field(default_factory=dict)  # other JSON files
    metadata: dict[str, str] = field(default_factory=dict)  # of the safetensors header
    others: dict[str, np.ndarray] = field(default_factory=dict)  # arrays by their full names
    joint: str = "."  # between the module and a part
    tensor: str = ""

    @property
    def name(self) -> str:
        """The tensor's name in the checkpoint."""
        return self.tensor or f"{self.module}.weight"

    def write(self, folder: Path) -> None:
        """The folder as a quantiser leaves it."""
        for name in ("model.safetensors", "quanto_qmap.json"):  # a new file: views of the old one stay whole
            (folder / name).unlink(missing_ok=True)
        stored = {f"{self.module}{self.joint}{part}": array for part, array in self.parts.items()}
        save(folder / "model.safetensors", {**stored, **self.others}, self.metadata or None)
        for name, content in {"config.json": self.config, **self.files}.items():
            (folder / name).write_text(json.dumps(content))

    def open(self, folder: Path) -> tuple[PackedTensor, np.ndarray]:
        """The tensor and its weights, as localq reads them.

        Raises:
            LocalqError: it does not.
        """
        self.write(folder)
        with np.errstate(all="ignore"), open_checkpoint(folder) as checkpoint:
            if checkpoint.unsupported:
                raise UnsupportedError(checkpoint.unsupported)
            t = checkpoint[self.name]
            return t, t.dequantize()

    def with_settings(self, settings: dict[str, Any]) -> Case:
        """The same beside another quantization_config."""
        return replace(self, config={**self.config, "quantization_config": settings})


def family(form: type[Format]) -> str:
    """The registered name a format, or a variant of it, belongs to."""
    return next(base.name for base in form.__mro__ if FORMATS.get(getattr(base, "name", "")) is base)


def wanted() -> set[str]:
    """Families that are stored in safetensors files with more than their weights."""
    return {name for name, form in FORMATS.items() if form.containers != ("gguf",) and form.family != "float"}


def fixtures() -> Iterator[Case]:
    """All variants of all fixture files."""
    for file in (name.removesuffix(".safetensors") for name in files()):
        if file not in ELSEWHERE:
            found = {f"{file} {label}": variant for label, variant in variants(f"{file}.safetensors").items()}
            yield from (_case(file, label, variant) for label, variant in found.items() if label not in REFUSED)
    yield from _exl3()
    for case in test_rotated.CASES:
        yield _rotated(case)


def made() -> Iterator[Case]:
    """MLX's modes, gpt-oss's blocks and localq's own formats, of which no peer writes one module."""
    for name in sorted(FORMATS):
        form = FORMATS[name]
        if form.family == "mlx" and "mlx" in form.containers:
            t = form.sample((64, 256), RNG)
            mode = "affine" if name.startswith("affine") else name
            said = {"bits": int(form.bits), "group_size": form.group_size, "mode": mode}
            yield Case(name, dict(t.parts), {"model_type": "llama", "quantization": said})
    for bits in (2, 3, 4):
        t = FORMATS[f"tq{bits}"].sample((4, 512), RNG)
        yield Case(t.format.name, dict(t.parts), _config({"quant_method": "tq"}))
    for form in FORMATS["fp_quant"].examples():  # its package needs a GPU
        t, code = form.sample((4, 128), RNG), form.name.split("_")[2]
        yield Case(form.name, dict(t.parts), _config({"quant_method": "fp_quant", "forward_dtype": code}))
    t = FORMATS["mxfp4_blocks"].sample((3, 64, 64), RNG)
    module = "model.layers.0.mlp.experts.gate_up_proj"
    said = {"quant_method": "mxfp4"}
    yield Case("mxfp4_blocks", dict(t.parts), _config(said), module, joint="_", tensor=module)


def every() -> Iterator[Case]:
    """Both."""
    yield from fixtures()
    yield from made()


def _config(settings: dict[str, Any]) -> dict[str, Any]:
    return {"model_type": "llama"} | ({"quantization_config": settings} if settings else {})


def _case(file: str, label: str, variant: Variant) -> Case:
    settings = dict(variant.config or {})
    if file == "quip":
        parts = {n: a for n, a in variant.parts.items() if n not in COMPARED}
        module = "model.layers.0." + ("self_attn.qkv_proj" if "qkv" in label else "mlp.down_proj")
        tensor = module.replace("qkv", "q") + ".weight"
        return Case(label, parts, {"model_type": "llama", **QUIP, "quip_params": settings}, module, tensor=tensor)
    if file == "quanto_groups":
        size = {"hidden_size": settings["size"]} if settings["size"] else {}
        files = {"quanto_qmap.json": settings["qmap"]} if settings["qmap"] is not None else {}
        return Case(label, dict(variant.parts), {"model_type": "llama", **size}, settings["module"], files)
    settings = settings.get("quantization_config", settings)
    header, floats = settings.pop("header", None), settings.pop("float8", {})
    parts = {n: a for n, a in variant.parts.items() if n not in COMPARED}
    for name in floats:
        if name in parts and parts[name].dtype == np.uint8:
            kind = floats[name] if isinstance(floats, dict) else "float8_e4m3fn"
            parts[name] = parts[name].view(getattr(ml_dtypes, kind))
    if set(parts) in ({"weight_scale"}, {"weight_scale_inv"}):  # codes drawn by the generators' rule
        places = np.arange(np.prod(variant.shape), dtype=np.int64)
        drawn = ((places * 40503 >> 4) % 127 + 128 * (places % 2)).astype(np.uint8)
        parts["weight"] = drawn.reshape(variant.shape).view(ml_dtypes.float8_e4m3fn)
    metadata = {f"{NAME}.weight": header} if header else {}
    return Case(label, parts, _config(settings), metadata=metadata)


def _exl3() -> Iterator[Case]:
    tensors, cases = test_exl3.peers()
    for case, facts in cases.items():
        parts = {"trellis": np.ascontiguousarray(tensors["trellis"][..., : int(16 * facts["bits"])])}
        parts |= {name: tensors[name] for name in (("su", "sv") if case == "3" else ("suh", "svh"))}
        parts |= {facts["book"]: test_exl3.MARK[facts["book"]]} if facts["book"] else {}
        yield Case(f"exl3 {case}", parts, _config(test_exl3.CONFIG))


def _rotated(case: str) -> Case:
    tensors, config = test_rotated.parts_of(case)
    module = test_rotated.DOWN
    parts = {n.removeprefix(f"{module}."): a for n, a in tensors.items() if n.startswith(f"{module}.")}
    others = {n: a for n, a in tensors.items() if not n.startswith(f"{module}.")}
    return Case(f"rotated {case}", parts, config, module, others=others)
