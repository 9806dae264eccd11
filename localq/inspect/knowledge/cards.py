"""The card for a label: which table knows the scheme, method or container it names."""

from __future__ import annotations

from localq.inspect.knowledge import floats, ggml, integers, mlx, vectors
from localq.inspect.knowledge.base import Card
from localq.labels.label import Label


def card_for(label: Label) -> Card | None:
    """The card of the scheme, method or container a label names; None where none is known."""
    scheme = label.scheme or ""
    if label.container == "gguf" or scheme.startswith(("UD-Q", "UD-IQ", "UD-TQ")):
        return _gguf(label, scheme)
    return floats.plain(scheme) or _blocks(label, scheme) or _by_method(label) or _by_scheme(label, scheme)


def _gguf(label: Label, scheme: str) -> Card | None:
    if scheme in ("I2_S", "TL1", "TL2"):
        return vectors.CARDS["bitnet"]
    if scheme[:2] == "IQ" and label.block_structure is None:
        return vectors.CARDS["ik"]
    found = floats.plain(scheme) or (ggml.card(scheme, label.block_structure) if scheme else None)
    return found or _blocks(label, scheme) or _by_scheme(label, scheme)


def _blocks(label: Label, scheme: str) -> Card | None:
    if scheme.startswith("FP8"):
        return floats.fp8(scheme, label.activation_bits)
    if scheme in ("nf4", "FP4") and label.method == "bnb":
        return floats.nf4(scheme.lower())
    if scheme == "nf4":
        return floats.nf4("nf4")
    return floats.blocks(scheme, label.container)


def _by_method(label: Label) -> Card | None:
    if label.container in ("exl2", "exl3", "mlc"):
        return vectors.CARDS[label.container]
    if (label.scheme or "").startswith("mixed_"):
        return mlx.mixed(str(label.scheme))
    if label.container == "mlx" and label.weight_bits:
        return mlx.card(label.weight_bits, label.group_size)
    makers = {"gptq": integers.gptq, "awq": integers.awq, "autoround": integers.autoround, "hqq": integers.hqq}
    if label.method in makers:
        bits = label.weight_bits if isinstance(label.weight_bits, int) else 4
        usual = 64 if label.method == "hqq" else 128
        return makers[label.method](bits, label.group_size or usual)
    if label.method == "bnb":
        return integers.bnb_int8() if label.weight_bits == 8 else floats.nf4("nf4")
    return vectors.CARDS.get(label.method or "")


def _by_scheme(label: Label, scheme: str) -> Card | None:
    if scheme == "W8A8":
        return integers.w8a8()
    if scheme.startswith("W") and label.activation_bits and isinstance(label.weight_bits, int):
        return integers.weights_only(label.weight_bits, label.activation_bits, label.group_size, scheme)
    if scheme.startswith("q") and "f" in scheme:
        return vectors.CARDS["mlc"]
    if scheme == "1.58bit":
        return vectors.CARDS["bitnet"]
    return None
