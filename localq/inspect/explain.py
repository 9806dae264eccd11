"""A `Truth` in words: lines a person reads, in the order they are asked."""

from __future__ import annotations

from localq.inspect.truth import Share, Truth

Row = tuple[str, str]


def rows(truth: Truth) -> list[Row]:
    """Label and sentence for everything the headers say; what they do not say is left out."""
    found: list[tuple[str, str | None]] = [
        ("name", truth.name),
        ("architecture", truth.architecture or "none: this container holds no model localq could name"),
        ("container", truth.container),
        *_weights(truth),
        ("claims to be", truth.file_type),
        ("layers", _layers(truth)),
        ("attention", _attention(truth)),
        ("experts", _experts(truth)),
        ("context", f"{_thousands(truth.context)} tokens" if truth.context else None),
        ("tokenizer", _tokenizer(truth)),
        ("chat template", "yes" if truth.chat_template else "no: only --raw prompts make sense"),
        ("not needed", _unused(truth)),
    ]
    return [(label, words) for label, words in found if words]


def _weights(truth: Truth) -> list[tuple[str, str | None]]:
    if not truth.formats:
        return [("parameters", "none: a vocabulary without weights")]
    return [
        ("parameters", _thousands(truth.parameters)),
        ("size", f"{_thousands(truth.nbytes)} bytes of tensors"),
        ("bits/weight", f"{truth.bits_per_weight:.2f} (real: all tensors, scales included)"),
    ]


def histogram(truth: Truth) -> list[tuple[str, ...]]:
    """Format, tensors, share of the weights, bits per weight, bytes, how it runs on a GPU and how exactly: a table.

    The last two columns are there for safetensors, or where somebody measured.
    """
    told = any(share.native for share in truth.formats.values())
    ends = ("on a GPU", "values") if told else ()
    table: list[tuple[str, ...]] = [("format", "tensors", "weights", "bits/weight", "bytes", *ends)]
    for name, share in truth.formats.items():
        percent = 100 * share.parameters / max(truth.parameters, 1)
        cells = (name, str(share.tensors), f"{percent:.1f} %", f"{share.bits_per_weight:.3f}", _thousands(share.nbytes))
        table.append((*cells, _mode(share), _values(share)) if told else cells)
    return table


def _mode(share: Share) -> str:
    if share.native in ("", "reference", "float"):
        return {"float": "floats"}.get(share.native, share.native)
    return f"MLX {share.native}"


def _values(share: Share) -> str:
    if share.native and not share.exactness:
        return "told by its weights"
    by = f", by up to {share.error:.2g} steps" if share.error else ""
    return f"{share.exactness}{by}" + (" in some rows (all: --measure)" if share.part else "")


def _thousands(count: int) -> str:
    return f"{count:,}".replace(",", " ")


def _layers(truth: Truth) -> str | None:
    if truth.layers is None:
        return None
    return f"{truth.layers}" + (f", hidden size {truth.hidden_size}" if truth.hidden_size else "")


def _attention(truth: Truth) -> str | None:
    if truth.heads is None:
        return None
    shared = truth.kv_heads and truth.kv_heads != truth.heads
    return f"{truth.heads} heads" + (f" over {truth.kv_heads} key/value heads" if shared else "")


def _experts(truth: Truth) -> str | None:
    if not truth.experts:
        return None
    return f"{truth.experts}" + (f", {truth.experts_used} at a time" if truth.experts_used else "")


def _unused(truth: Truth) -> str | None:
    if not truth.unused:
        return None
    reasons = ", ".join(dict.fromkeys(truth.unused.values()))
    return f"{len(truth.unused)} stored arrays ({reasons})"


def _tokenizer(truth: Truth) -> str | None:
    words = [truth.tokenizer] if truth.tokenizer else []
    if truth.vocabulary:
        words.append(f"{_thousands(truth.vocabulary)} tokens")
    return ", ".join(words) or None
