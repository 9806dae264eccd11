"""The facts of an opened checkpoint: counted from its headers, read from its config, never from its name.

No weight is read but a few rows of a packed matrix, to tell the mode that holds it. What a checkpoint does not say is
None.
"""

from __future__ import annotations

import math
import os
from functools import partial
from typing import Any, NamedTuple

from localq.checkpoints.base import Checkpoint, TensorSpec
from localq.checkpoints.towers import WHY


class Share(NamedTuple):
    """What one format holds of a checkpoint."""

    tensors: int
    parameters: int
    nbytes: int
    native: str = ""  # the MLX mode its weights run in on a GPU, "reference" for none; "" where nobody looked
    exactness: str = ""  # of that mode: "exact", "rounded"; "" where only measuring tells
    error: float = 0.0  # the largest, in quantisation steps
    part: bool = False  # the last two are what some rows show, not a fact of all

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.nbytes / max(self.parameters, 1)


class Truth(NamedTuple):
    """A checkpoint in numbers. `context` is the longest the model was made for, in tokens."""

    path: str
    container: str
    architecture: str | None
    name: str | None  # what the file calls itself
    file_type: str | None  # the recipe a GGUF claims (general.file_type), in llama.cpp's words
    parameters: int
    nbytes: int
    bits_per_weight: float
    formats: dict[str, Share]
    layers: int | None
    hidden_size: int | None
    heads: int | None
    kv_heads: int | None
    experts: int | None
    experts_used: int | None
    vocabulary: int | None
    context: int | None
    tokenizer: str | None
    chat_template: bool
    unused: dict[str, str] = {}  # stored arrays nobody reads -> why

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; unknown keys left out."""
        plain = {k: v for k, v in self._asdict().items() if v is not None}
        plain["bits_per_weight"] = round(self.bits_per_weight, 4)
        if not self.unused:
            del plain["unused"]
        plain["formats"] = {
            name: {
                **{
                    key: value
                    for key, value in share._asdict().items()
                    if value != "" and (key not in ("error", "part") or value)
                },
                "bits_per_weight": round(share.bits_per_weight, 4),
            }
            for name, share in self.formats.items()
        }
        return plain


_EXPERTS = "num_local_experts", "num_experts", "n_routed_experts"
_EXPERTS_USED = "num_experts_per_tok", "experts_per_token"
# llama.cpp include/llama.h `enum llama_ftype`, its names without LLAMA_FTYPE_MOSTLY_.
_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K", 19: "IQ2_XXS",
    20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL", 26: "IQ3_S", 27: "IQ3_M",
    28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0", 37: "TQ2_0", 38: "MXFP4_MOE",
}  # fmt: skip


def read_truth(checkpoint: Checkpoint, measured: bool = False) -> Truth:
    """Count and read what `checkpoint`'s headers say; `measured`: and how exactly MLX's modes hold its weights.

    Raises:
        LocalqError: weights were to be read and cannot be.
    """
    whole, text = partial(_whole, checkpoint), checkpoint.text_specs
    return Truth(
        path=checkpoint.path,
        container=checkpoint.container,
        architecture=checkpoint.architecture,
        name=_text(checkpoint, "general.name"),
        file_type=_file_type(checkpoint),
        parameters=checkpoint.parameters,
        nbytes=checkpoint.nbytes,
        bits_per_weight=checkpoint.bits_per_weight,
        formats=_shares(checkpoint, measured),
        layers=whole("num_hidden_layers", "n_layer", "n_layers"),
        hidden_size=whole("hidden_size", "n_embd", "d_model"),
        heads=whole("num_attention_heads", "n_head"),
        kv_heads=whole("num_key_value_heads"),
        experts=whole(*_EXPERTS),
        experts_used=whole(*_EXPERTS_USED),
        vocabulary=whole("vocab_size"),
        context=trained_context(checkpoint),
        tokenizer=_tokenizer(checkpoint),
        chat_template=_has_template(checkpoint),
        unused={**checkpoint.unused, **{name: WHY for name in checkpoint if name not in text}},
    )


def trained_context(checkpoint: Checkpoint) -> int | None:
    """The longest context that the model was made for, in tokens; None where its config does not say."""
    return _whole(checkpoint, "max_position_embeddings", "n_positions", "max_seq_len")


def _whole(checkpoint: Checkpoint, *keys: str) -> int | None:
    config = checkpoint.config or {}
    nested = config.get("text_config")
    text = nested if isinstance(nested, dict) else config
    for key in keys:
        value = text.get(key, config.get(key))
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return None


def _shares(checkpoint: Checkpoint, measured: bool) -> dict[str, Share]:
    found: dict[str, Share] = {}
    for spec in checkpoint.specs.values():
        count = 1
        for side in spec.shape:
            count *= side
        held = found.get(spec.format) or Share(0, 0, 0, *_way(checkpoint, spec, measured))
        found[spec.format] = held._replace(
            tensors=held.tensors + 1, parameters=held.parameters + count, nbytes=held.nbytes + spec.nbytes
        )
    if measured:
        from localq.inspect.repack import measure

        for name, (native, exactness, error, part) in measure(checkpoint).items():
            found[name] = found[name]._replace(native=native, exactness=exactness, error=error, part=part)
    return dict(sorted(found.items(), key=lambda kv: (-kv[1].nbytes, kv[0])))


def _way(checkpoint: Checkpoint, spec: TensorSpec, measured: bool) -> tuple[str, str, float, bool]:
    """Asked of the formats for safetensors only: reading those needs numpy anyway, and a GGUF must not."""
    if checkpoint.container != "safetensors" or measured:
        return "", "", 0.0, False
    from localq.inspect.repack import way

    return way(checkpoint, spec)


def _text(checkpoint: Checkpoint, key: str) -> str | None:
    value = checkpoint.metadata.get(key) if checkpoint.metadata is not None else None
    return value if isinstance(value, str) and value else None


def _file_type(checkpoint: Checkpoint) -> str | None:
    claimed = checkpoint.metadata.get("general.file_type") if checkpoint.metadata is not None else None
    return _FILE_TYPES.get(claimed, f"file type {claimed}") if isinstance(claimed, int) else None


def _folder(checkpoint: Checkpoint) -> str:
    return checkpoint.path if os.path.isdir(checkpoint.path) else os.path.dirname(checkpoint.path)


def _tokenizer(checkpoint: Checkpoint) -> str | None:
    """The kind of tokenizer: GGUF's model and pre-tokenizer keys, or the class and files of a folder."""
    kind = _text(checkpoint, "tokenizer.ggml.model")
    if kind:
        pre = _text(checkpoint, "tokenizer.ggml.pre")
        return f"{kind} (pre-tokenizer {pre})" if pre else kind
    if checkpoint.container == "gguf":
        return None
    folder = _folder(checkpoint)
    names = ("tokenizer.json", "tokenizer.model", "vocab.json")
    files = [f for f in names if os.path.isfile(os.path.join(folder, f))]
    kind = _tokenizer_class(os.path.join(folder, "tokenizer_config.json"))
    if not files:
        return kind
    return f"{kind} ({', '.join(files)})" if kind else ", ".join(files)


def _tokenizer_class(path: str) -> str | None:
    import json

    try:
        with open(path, encoding="utf-8") as file:
            kind = json.load(file).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        return None  # explaining weights must not fail over a tokenizer's file; running reads it strictly
    return kind if isinstance(kind, str) else None


def _has_template(checkpoint: Checkpoint) -> bool:
    if checkpoint.container == "gguf":
        return _text(checkpoint, "tokenizer.chat_template") is not None
    folder = _folder(checkpoint)
    if os.path.isfile(os.path.join(folder, "chat_template.jinja")):
        return True
    try:
        with open(os.path.join(folder, "tokenizer_config.json"), encoding="utf-8") as file:
            return '"chat_template"' in file.read()
    except OSError:
        return False


def per_token(checkpoint: Checkpoint) -> tuple[int, int]:
    """Bytes of weights one decode step reads, and how many weights: of experts only those used, no embedding table.

    A tied table counts: it is the output head. Experts are told by their name (`.experts.`, `.switch_mlp.`; shared
    ones count whole), their share by the config.
    """
    experts, used = _whole(checkpoint, *_EXPERTS), _whole(checkpoint, *_EXPERTS_USED)
    share = used / experts if experts and used else 1.0
    text = checkpoint.text_specs
    tied = not any(name.endswith("lm_head.weight") for name in text)
    nbytes = weights = 0.0
    for name, spec in text.items():
        if "embed_tokens" in name and not tied:
            continue
        part = share if ".experts." in name or ".switch_mlp." in name else 1.0
        nbytes += spec.nbytes * part
        weights += math.prod(spec.shape) * part
    return int(nbytes), int(weights)


def bytes_per_token(checkpoint: Checkpoint) -> int:
    """Bytes of weights one decode step reads; see `per_token`."""
    return per_token(checkpoint)[0]
