"""Tiny checkpoints made in code, in every container: what the tests run instead of downloads.

model = build("qwen3")                              # config + float32 weights under Hugging Face names
write_hf(model, folder, "bfloat16")                 # Hugging Face folder
write_gguf(model, path, "q4_k")                     # GGUF as llama.cpp's converter and quantiser would write it
write_gguf(model, path, {"*attn_v*": "q6_k", "*": "iq4_xs"})
"""

from tests.factories.files import (
    chosen_type,
    decoded,
    decoded_tensors,
    stored_tensors,
    write_gguf,
    write_gguf_pair,
    write_hf,
)
from tests.factories.layout import gguf_tensors
from tests.factories.mlx_folder import MlxQuant, write_mlx
from tests.factories.tiny import ARCHS, TinyModel, build

__all__ = [
    "ARCHS",
    "MlxQuant",
    "TinyModel",
    "build",
    "chosen_type",
    "decoded",
    "decoded_tensors",
    "gguf_tensors",
    "stored_tensors",
    "write_gguf",
    "write_gguf_pair",
    "write_hf",
    "write_mlx",
]
