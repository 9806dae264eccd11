"""What QuIP# says elsewhere than others: `quip_params` of config.json, and fused matrices that its files do not cut.

Q, K and V lie as one matrix `qkv_proj`, up and gate as one `upgate_proj`, in this order; how many rows each has is
said by the sizes of the model alone. Source: quip-sharp's model/llama.py, model/mistral.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from localq.checkpoints.modules import Module
from localq.errors import CheckpointError

_PIECES = {"qkv_proj": ("q_proj", "k_proj", "v_proj"), "upgate_proj": ("up_proj", "gate_proj")}
SIZES = "fused_rows"  # the key under which `quip_settings` hands them on


def quip_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The `quip_params` of a config.json as a quantization config, with the rows of the pieces of fused matrices.

    Raises:
        CheckpointError: the config lacks a size, or it is no positive integer.
    """
    hidden, heads = (_size(config, key) for key in ("hidden_size", "num_attention_heads"))
    kv, intermediate = (_size(config, key) for key in ("num_key_value_heads", "intermediate_size"))
    head = hidden // heads
    rows = {"qkv_proj": [heads * head, kv * head, kv * head], "upgate_proj": [intermediate, intermediate]}
    kind = "qtip" if "tlut_bits" in config["quip_params"] else "quip"
    return {**config["quip_params"], "quant_method": kind, SIZES: rows}


def _size(config: Mapping[str, Any], key: str) -> int:
    found = config.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or found <= 0:
        raise CheckpointError(f"The config's {key} is {found!r}; QuIP# needs a positive integer.")
    return found


def unfused(modules: dict[str, Module], quantization: Mapping[str, Any] | None) -> dict[str, Module]:
    """The modules with each fused matrix of QuIP# as the matrices it is made of, all of the same arrays."""
    if not quantization or quantization.get("quant_method") != "quip":
        return modules
    found: dict[str, Module] = {}
    for module in modules.values():
        stem, _, last = module.path.rpartition(".")
        fused = last in _PIECES and "Qidxs" in module.parts
        if fused and "fuse_scales" not in module.parts:
            raise CheckpointError(
                f"The fused matrix '{module.path}' lacks its 'fuse_scales', the factors of its pieces."
            )
        for piece in _PIECES[last] if fused else (None,):
            path = module.path if piece is None else f"{stem}.{piece}"
            one = module if piece is None else Module(f"{path}.weight", path, dict(module.parts))
            if one.name in found:
                raise CheckpointError(f"The tensor '{one.name}' is stored twice, once as a piece of '{last}'.")
            found[one.name] = one
    return found


def piece_of(path: str, sizes: Mapping[str, Any]) -> tuple[int, ...]:
    """Rows from, to and of how many, and which of how many pieces, for a piece's path; () for a matrix of its own."""
    last = path.rpartition(".")[2]
    for fused, names in _PIECES.items():
        if last in names:
            rows, which = sizes[fused], names.index(last)
            start = sum(rows[:which])
            return start, start + rows[which], sum(rows), which, len(rows)
    return ()
