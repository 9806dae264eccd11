"""Where a name and the headers of what it names differ, in sentences."""

from __future__ import annotations

import re

from localq.inspect.knowledge.ggml import RECIPES
from localq.inspect.truth import Truth
from localq.labels.label import Label, short

_FLOATS = {"f32": 32, "f16": 16, "bf16": 16}
_INSIDE = {  # method -> what its tensors are called in this registry
    "awq": ("awq",),
    "gptq": ("gptq",),
    "autoround": ("gptq", "awq", "auto"),
    "hqq": ("hqq",),
    "bnb": ("bnb",),
}
_NEAR = 1.5  # sizes in names are rounded, and some count embeddings and some do not


def differences(label: Label, truth: Truth) -> list[str]:
    """Sentences; none where everything that can be compared agrees."""
    if not truth.formats:
        return []
    main = max(truth.formats, key=lambda name: truth.formats[name].parameters)
    found = [
        _container(label, truth),
        _recipe(label, truth, main),
        _method(label, main),
        _bits(label, truth, main),
        _parameters(label, truth),
    ]
    return [sentence for sentence in found if sentence]


def _container(label: Label, truth: Truth) -> str:
    says = label.container
    if says not in ("gguf", "mlx", "safetensors") or says == truth.container:
        return ""
    if says == "mlx" and any(name.startswith(("affine", "mxfp", "nvfp", "bf16", "f16")) for name in truth.formats):
        return ""
    if says == "safetensors" and truth.container != "gguf":
        return ""
    return f"The name says {says}; the files are {truth.container}."


def _recipe(label: Label, truth: Truth, main: str) -> str:
    scheme = label.scheme or ""
    if scheme not in RECIPES or truth.container != "gguf":
        return ""
    if truth.file_type and truth.file_type != scheme:
        return f"The name says {scheme}; the file calls itself {truth.file_type}, and most weights are {main}."
    wanted = RECIPES[scheme][0]
    if main != wanted:
        return f"{scheme} is mostly {wanted}; here most weights are {main}."
    return ""


def _method(label: Label, main: str) -> str:
    inside = _INSIDE.get(label.method or "")
    if not inside or main.startswith(inside):
        return ""
    says = (label.method or "").upper()
    if main in _FLOATS:
        return f"The name says {says}, but most weights are {main}: nothing packed."
    if main.startswith("affine") and label.container == "mlx":
        return ""
    return f"The name says {says}; inside, most weights are {main}."


def _bits(label: Label, truth: Truth, main: str) -> str:
    says, has = label.weight_bits, bits_of(main)
    if says is None or has is None or says == has or (label.scheme or "").startswith("UD-"):
        return ""
    if isinstance(says, float) and abs(truth.bits_per_weight - says) < 1:
        return ""  # an average (4.65bpw), not the width of codes
    real = f"{truth.bits_per_weight:.2f} bits per weight in all"
    return f"The name says {says:g} bits; most weights are {main} ({has} bits), {real}."


def bits_of(name: str) -> int | None:
    """Bits of a code of the format called `name`; None where the name does not tell."""
    if name in _FLOATS:
        return _FLOATS[name]
    found = re.search(r"(\d+)bit|^i?q(\d)_|(?:mxfp|nvfp|fp|nf|int)(\d+)", name)
    return int(found[1] or found[2] or found[3]) if found else None


def _parameters(label: Label, truth: Truth) -> str:
    says, has = label.parameters, truth.parameters
    if not says or not has or 1 / _NEAR < has / says < _NEAR:
        return ""
    return f"The name says {short(says)} parameters; the tensors hold {short(has)}."
