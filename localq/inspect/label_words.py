"""A label in words, piece by piece, for somebody who meets these names for the first time."""

from __future__ import annotations

import sys
from collections.abc import Callable

from localq.inspect.knowledge.base import Card, Packing
from localq.inspect.knowledge.cards import card_for
from localq.inspect.knowledge.vectors import METHODS
from localq.labels.label import Label, Piece, short

Row = tuple[str, str]

_KINDS = {
    "organisation": "who publishes it",
    "maker": "who made the model, not who publishes this build",
    "family": "the family of models",
    "version": "the family's version",
    "revision": "a revision of this build",
    "base": "the model it was made from",
    "shard": "one of several files that belong together",
    "context": "a context length in tokens",
    "date": "when it was released (year and month, or month and day)",
    "unknown": "unknown to localq",
}
_VARIANTS = {
    "instruct": "tuned to follow instructions: for chats and tasks",
    "chat": "tuned for conversation",
    "base": "not tuned: it continues text, it does not answer",
    "coder": "trained for code",
    "thinking": "reasons aloud before it answers",
    "reasoning": "reasons aloud before it answers",
    "math": "trained for mathematics",
    "embedding": "turns text into vectors, does not write",
    "reranker": "scores how well texts fit a question, does not write",
    "guard": "judges whether text is safe",
}
_CONTAINERS = {
    "gguf": "one file with everything in it: llama.cpp, Ollama, LM Studio, localq",
    "mlx": "a folder for Apple's MLX: Mac first",
    "safetensors": "a folder of Hugging Face's: PyTorch's world",
    "exl2": "a folder for exllamav2: NVIDIA",
    "exl3": "a folder for exllamav3: NVIDIA",
    "ggml": "llama.cpp's format before GGUF: nothing reads it any more",
    "onnx": "for ONNX Runtime",
    "openvino": "for Intel's OpenVINO",
    "mlc": "compiled for MLC-LLM and WebLLM",
    "litert": "for Google's LiteRT, phones first",
}


def piece_rows(label: Label) -> list[Row]:
    """Every part of the name as written, and what it means."""
    return [(piece.text, _meaning(piece, label)) for piece in label.pieces]


def _meaning(piece: Piece, label: Label) -> str:
    if piece.kind == "word":
        return piece.value
    readers: dict[str, Callable[[Piece], str]] = {
        "size": _size,
        "variant": lambda p: f"{p.value}: {_VARIANTS.get(p.value, 'a variant')}",
        "container": lambda p: f"{p.value}: {_CONTAINERS.get(p.value, 'a container')}",
        "method": lambda p: METHODS.get(p.value) or f"{p.value}: how it was quantised",
        "scheme": lambda p: f"{p.value}: how weights are packed" + (", see below" if card_for(label) else ""),
        "group_size": lambda p: f"{p.value} weights share a scale",
        "kv_bits": lambda p: f"the KV cache in {p.value} bits",
        "imatrix": lambda p: "quantised with an importance matrix: errors are kept away from what matters in a text",
        "dynamic": lambda p: "Unsloth's dynamic recipe: bits chosen tensor by tensor",
        "shard": lambda p: f"part {label.shard[0]} of {label.shard[1]}" if label.shard else "a part",
    }
    if piece.kind in readers:
        return readers[piece.kind](piece)
    words = _KINDS[piece.kind]
    return f"{words} ({piece.value})" if piece.value and piece.value.lower() != piece.text.lower() else words


def _size(piece: Piece) -> str:
    text = piece.text.lower()
    if text.startswith("a"):
        return "weights used for one token: a mixture of experts is as fast as a model of this size"
    if text.startswith("e"):
        return "effective size: what has to be in fast memory; embeddings come on top"
    if "x" in text:
        return "experts and the size of one: not their product, since they share parts"
    if text.endswith("e"):
        return "experts"
    return f"weights of the model: {_spelt(text)}"


def _spelt(text: str) -> str:
    words = {"b": "billion", "m": "million", "t": "trillion"}
    return f"{text[:-1].replace('_', '.').replace('-', '.')} {words[text[-1]]}" if text[-1:] in words else text


def packing_rows(label: Label) -> list[Row]:
    """How weights are packed, what that costs and for whom it is; empty where nothing is known."""
    card = card_for(label)
    if card is None:
        return []
    what = card.what
    if label.method == "qat":  # what was measured of converted models, and what is said of them, is not true of these
        card = card._replace(quality=(), made="trained for this grid, then rounded to it", who="", instead="")
    if label.weight_bits is None and label.method:
        what = what.replace("of 4 bits", "(of 4 bits as a rule; the name does not say)")
    rows = [
        ("packing", what),
        ("bits", _bits(label, card)),
        ("mixture", card.mixture),
        ("whole model", f"{card.typical.text} ({card.typical.source})" if card.typical else ""),
        ("memory", _memory(label, card)),
        *_grid(label, card.packing),
        ("activations", card.activations),
        ("engines", card.engines),
        ("made by", card.made),
        *(("measured", f"{figure.text} ({figure.source})") for figure in card.quality),
        ("for", card.who),
        ("or rather", card.instead),
    ]
    return [(name, words) for name, words in rows if words]


def _bits(label: Label, card: Card) -> str:
    if card.packing is None:
        return f"{label.weight_bits:g} bits per weight by name" if label.weight_bits else ""
    assumed = "" if label.group_size or not _free(label) else "the usual group: "
    return assumed + card.packing.arithmetic()


def _free(label: Label) -> bool:
    """Whether the scheme leaves the group size to the quantiser."""
    return label.method in ("gptq", "awq", "autoround", "hqq") or label.container == "mlx" or label.scheme == "W4A16"


def _memory(label: Label, card: Card) -> str:
    bits = _real_bits(card)
    if not label.parameters or not bits:
        return ""
    size = label.parameters * bits / 8e9
    return f"about {short(label.parameters)} x {bits:.2f} bits / 8 = {size:.1f} GB of weights, and the KV cache"


def _real_bits(card: Card) -> float | None:
    if card.typical:
        return float(card.typical.text.split()[0])
    return card.packing.bits_per_weight if card.packing else None


def _grid(label: Label, packing: Packing | None) -> list[Row]:
    if packing is None or packing.group == 1:
        return []
    if label.method in ("gptq", "awq", "autoround"):
        share = f"{packing.group} weights share a scale" + ("" if label.group_size else ", as a rule")
        return [("scales", share), ("grid", "symmetric or with a zero point: the config tells")]
    kind = (
        "symmetric: a scale, no offset beside it" if packing.symmetric else "asymmetric: an offset beside every scale"
    )
    share = "one scale per row or matrix" if packing.group >= 4096 else f"{packing.group} weights share a scale"
    return [("scales", share), ("grid", kind)]


def format_rows(name: str) -> list[Row]:
    """A registered format by its own name (`q4_k`, `gptq_4bit_g128`), from the registry; empty for another name."""
    from localq.formats import FORMATS, find

    found = find(name)
    if found is None:
        return []
    example = found.examples()[0] if found.name in FORMATS else found  # a variant stands for itself
    of = f" (a family; figures of {example.name})" if example.name != found.name else ""
    share = f"{example.group_size} weights share a scale" if example.group_size else "one scale per row"
    home = next(c.__module__ for c in found.__mro__ if c.__module__.startswith("localq.formats."))
    doc = (sys.modules[home].__doc__ or "").strip().split("\n\n")[0]
    return [
        ("format", f"{found.name}{of}"),
        ("layout", " ".join(doc.split())),
        ("bits", f"{example.bits:g} per code, {example.bits_per_weight:.5g} per weight with scales"),
        ("scales", f"{example.scale or 'none'}; {share}" if example.group_size != 1 else "none"),
        ("grid", "symmetric" if example.symmetric else "asymmetric: an offset per group"),
        ("containers", ", ".join(found.containers)),
    ]
