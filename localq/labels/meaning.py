"""From what was read to what it means: several schemes weighed, facts that follow by definition, notes on the rest."""

from __future__ import annotations

import re
from typing import Any

from localq.labels.words import HOUSE_CONTAINERS, HOUSE_METHODS, METHOD_FORMATS

Facts = dict[str, Any]

_FLOATS = ("BF16", "F16", "FP16", "F32", "FP32", "16bit", "32bit")
_BITS = ("weight_bits", "number_format", "activation_bits", "kv_bits", "group_size", "block_structure", "tier")

NOTES = {
    "awq": "AWQ: AutoAWQ, compressed-tensors int4 or MLX; look at the config.",
    "bits": "{scheme} without a container: MLX, bitsandbytes, AWQ and others write it so; look at the config.",
    "W8A8": "W8A8 is INT8 where compressed-tensors names it; a few write it for FP8: look at the config.",
    "experts": "{experts}x{size}: {experts} experts of {size} each share their attention, so the whole is smaller.",
    "experts_only": "{experts}E: {experts} experts; the size before it is what one token uses.",
    "effective": "E{size}: {size} effective parameters; embeddings kept aside come on top.",
    "NVFP4": "NVFP4: in compressed-tensors, modelopt, MLX or GGUF; activations 4 or 16 bits; look at the config.",
    "FP8": "FP8: one scale per tensor, per channel or per block of 128 x 128; look at the config.",
    "MXFP4": "MXFP4: as gpt-oss, compressed-tensors, MLX or GGUF store it; look at the config.",
    "autoround": "AutoRound: its own, GPTQ's, AWQ's or GGUF's packing; look at the config.",
    "mixed": "Several packings are named ({schemes}), so bits differ between tensors.",
    "unquantized": "Unquantised: full precision weights, trained to be rounded to the scheme that is named.",
    "methods": "Several methods are named ({methods}): the first made the weights, the others may be the packing.",
}


def settle(facts: Facts) -> list[str]:
    """Complete `facts` in place; what the name leaves open comes back as sentences."""
    notes: list[str] = []
    _containers(facts)
    _schemes(facts, notes)
    _methods(facts, notes)
    _sizes(facts, notes)
    if facts.get("variants"):
        facts["variant"] = "-".join(facts["variants"])
    _derived(facts)
    return notes + _open_questions(facts)


def _containers(facts: Facts) -> None:
    found = facts.get("containers", [])
    organisation = str(facts.get("organisation", "")).lower()
    if found:
        facts["container"] = "gguf" if "gguf" in found else found[0]  # ggml-model-q4_0.gguf
    elif organisation in HOUSE_CONTAINERS:
        facts["container"] = HOUSE_CONTAINERS[organisation]
    if organisation in HOUSE_METHODS:
        facts.setdefault("methods", []).append(HOUSE_METHODS[organisation])


def _schemes(facts: Facts, notes: list[str]) -> None:
    """One scheme of those named: a packing before a plain float, GGUF's before others."""
    named = [scheme for scheme, about_part in facts.get("schemes", []) if not about_part]
    named = named or [scheme for scheme, _ in facts.get("schemes", [])]
    packed = [s for s in named if s["scheme"] not in _FLOATS] or named[:1]
    if "unquantized" in facts and packed:
        notes.append(NOTES["unquantized"])
        return
    ggml = [s for s in packed if s.get("container") == "gguf"]
    packed = ggml or packed
    packed.sort(key=lambda s: s["scheme"].endswith("bit"))  # 4bit-mxfp4: what says more comes first
    if not packed:
        return
    if len(packed) > 1 and facts.get("family") == "BitNet":
        packed = [s for s in packed if s["scheme"] != "1.58bit"] or packed  # that is the model's name
    merged: Facts = {}
    clash = _clash(packed)
    for scheme in packed:
        for key, value in scheme.items():
            merged.setdefault(key, value)
    if clash:
        notes.append(NOTES["mixed"].format(schemes=", ".join(s["scheme"] for s in packed)))
        merged.pop("weight_bits", None)
        merged["scheme"] = "-".join(s["scheme"] for s in packed)
        if len({s.get("number_format") for s in packed}) > 1:
            merged.pop("number_format", None)
    for key, value in merged.items():
        facts.setdefault(key, value)


def _clash(packed: list[Facts]) -> bool:
    return len({s["weight_bits"] for s in packed if "weight_bits" in s}) > 1


def _methods(facts: Facts, notes: list[str]) -> None:
    found = list(dict.fromkeys(facts.get("methods", [])))
    if not found:
        return
    facts["method"] = "autoround" if "autoround" in found else found[0]
    if len(found) > 1:
        notes.append(NOTES["methods"].format(methods=", ".join(found)))


def _sizes(facts: Facts, notes: list[str]) -> None:
    if "expert_size" in facts:
        size = f"{facts['expert_size'] / 1e9:g}B"
        notes.append(NOTES["experts"].format(experts=facts["experts"], size=size))
    elif "experts" in facts and "parameters" in facts:
        facts["active_parameters"] = facts.pop("parameters")
        notes.append(NOTES["experts_only"].format(experts=facts["experts"]))
    if "effective" in facts:
        notes.append(NOTES["effective"].format(size=f"{facts['effective'] / 1e9:g}B"))


def _derived(facts: Facts) -> None:
    method = facts.get("method")
    if method == "dwq":
        facts.setdefault("container", "mlx")
    kinds = [METHOD_FORMATS[m] for m in facts.get("methods", []) if m in METHOD_FORMATS]
    if kinds and not facts.get("unquantized"):
        facts.setdefault("number_format", kinds[0])
    scheme = str(facts.get("scheme", ""))
    if (
        re.match("W[1-8](?:A|$)", scheme) and scheme != "W4A4"
    ):  # compressed-tensors' presets of these names are integers
        facts.setdefault("number_format", "int")
    if facts.get("container") == "mlx" and scheme.endswith("bit") and facts.get("weight_bits") != 16:
        facts.setdefault("number_format", "int")
    if method == "bnb" and facts.get("weight_bits") == 8:
        facts.setdefault("number_format", "int")
    if facts.get("family") == "BitNet":
        facts.setdefault("method", "bitnet")


def _open_questions(facts: Facts) -> list[str]:
    method, scheme, container = facts.get("method"), str(facts.get("scheme", "")), facts.get("container")
    notes = []
    if method == "awq" and not container:
        notes.append(NOTES["awq"])
    if method == "autoround" and not container:
        notes.append(NOTES["autoround"])
    if scheme.endswith("bit") and not container and not method:
        notes.append(NOTES["bits"].format(scheme=scheme))
    if scheme in ("NVFP4", "MXFP4", "FP8") and not container and not method:
        notes.append(NOTES[scheme])
    if scheme == "W8A8" and facts.get("number_format") == "int":
        notes.append(NOTES["W8A8"])
    return notes
