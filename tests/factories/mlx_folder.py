"""An MLX folder of a tiny model: mlx-lm itself loads, quantises and saves it, so names and config are the real ones."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.factories.files import start_folder, write_hf
from tests.factories.layout import split_gpt_oss_experts
from tests.factories.tiny import TinyModel

Predicate = Callable[[str, Any], bool | dict[str, Any]]


@dataclass(frozen=True)
class MlxQuant:
    """One of MLX's quantisations; `bits` and `group_size` default to the mode's own (affine: 4 bits in groups of 64).

    `predicate(path, module)` picks per layer: False leaves it in float, a dict overrides bits, group_size, mode.
    """

    mode: str = "affine"
    bits: int | None = None
    group_size: int | None = None
    global_scale: bool = False
    predicate: Predicate | None = None


def write_mlx(model: TinyModel, folder: Path | str, quant: MlxQuant | None = None, dtype: str = "float32") -> Path:
    """Write `model` as mlx-lm's converter would; `quant` None keeps floats. `dtype` is that of floats and scales."""
    from mlx_lm import utils

    with tempfile.TemporaryDirectory() as scratch:
        loaded, config = utils.load_model(write_hf(_readable(model), scratch, dtype))
        if quant is not None:
            loaded, config = utils.quantize_model(
                loaded,
                config,
                quant.group_size,
                quant.bits,
                mode=quant.mode,
                global_scale=quant.global_scale,
                quant_predicate=quant.predicate,
            )
        folder = start_folder(model, folder, {"torch_dtype": dtype})
        utils.save_model(folder, loaded)
    utils.save_config(config, folder / "config.json")
    return folder


def _readable(model: TinyModel) -> TinyModel:
    """mlx-lm reads gpt-oss only with packed experts or under its own names: give it the latter."""
    if model.config["model_type"] != "gpt_oss":
        return model
    weights = {}
    for name, w in model.weights.items():
        layer, rest = re.fullmatch(r"(model\.layers\.\d+\.)?(.+)", name).groups()
        if rest.startswith("mlp.experts."):
            for gguf_name, part in split_gpt_oss_experts(rest, w):
                which, kind = re.fullmatch(r"ffn_(\w+)_exps\.(\w+)", gguf_name).groups()
                weights[f"{layer}mlp.experts.{which}_proj.{kind}"] = part
        else:
            weights[name] = w
    return replace(model, weights=weights)
