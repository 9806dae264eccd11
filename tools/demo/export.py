"""Writes the model folder in Hugging Face's layout: bf16 safetensors, config, tokenizer, generation config."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from bpe import END, STOP, save_tokenizer
from model import CONFIG, Decoder
from safetensors.torch import save_file
from tokenizers import Tokenizer


def export(model: Decoder, tokenizer: Tokenizer, folder: Path, run: dict[str, Any]) -> None:
    """Writes or replaces the files one by one, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    stop, end = tokenizer.token_to_id(STOP), tokenizer.token_to_id(END)
    config = {**CONFIG, "eos_token_id": stop, "pad_token_id": end, "bos_token_id": None}
    config["vocab_size"] = tokenizer.get_vocab_size()
    _write_json(folder / "config.json", config)
    generation = {"eos_token_id": [stop, end], "pad_token_id": end, "do_sample": False, "max_new_tokens": 128}
    _write_json(folder / "generation_config.json", generation)
    save_tokenizer(tokenizer, folder)
    _write_json(folder / "training.json", run)
    weights = {f"model.{name}": p.detach().to(torch.bfloat16).contiguous() for name, p in model.named_parameters()}
    part = folder / "model.safetensors.part"
    save_file(weights, part, metadata={"format": "pt"})
    part.chmod(0o644)  # safetensors makes its files private
    os.replace(part, folder / "model.safetensors")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    os.replace(part, path)
