"""How long localq takes to start, as a ratio to `python -c pass`, and the limits of it (`LIMITS`).

Minimum of interleaved runs, so that a busy machine slows all of them alike. Exit code 1 when a limit is broken.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LABEL = "Qwen3.6-32B-Instruct-AWQ"
LIMITS = {
    "localq --help": 3.0,
    "localq explain LABEL": 6.0,
    "localq explain file.gguf": 6.0,
    "localq explain folder": 18.0,  # numpy, for some rows of a packed matrix
    "localq fit file.gguf": 9.0,
    "localq fit folder": 12.0,
}
ROUNDS = 30


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        file = _gguf(Path(folder) / "file.gguf")
        packed = _awq(Path(folder) / "packed")
        script = "from localq.cli.main import main; raise SystemExit(main())"  # what the installed `localq` does
        commands = {
            "python -c pass": [sys.executable, "-c", "pass"],
            "localq --help": [sys.executable, "-c", script, "--help"],
            "localq explain LABEL": [sys.executable, "-c", script, "explain", LABEL],
            "localq explain file.gguf": [sys.executable, "-c", script, "explain", str(file)],
            "localq explain folder": [sys.executable, "-c", script, "explain", str(packed)],
            "localq fit file.gguf": [sys.executable, "-c", script, "fit", str(file)],
            "localq fit folder": [sys.executable, "-c", script, "fit", str(packed)],
        }
        best = dict.fromkeys(commands, float("inf"))
        for _ in range(ROUNDS):
            for name, command in commands.items():
                best[name] = min(best[name], _seconds(command))
    return _report(best)


def _report(best: dict[str, float]) -> int:
    code, bare = 0, best["python -c pass"]
    for name, seconds in best.items():
        limit = LIMITS.get(name)
        ratio = seconds / bare
        print(f"{name:<28}{1000 * seconds:7.1f} ms {ratio:5.2f}x" + (f"  (limit {limit:g}x)" if limit else ""))
        code |= int(limit is not None and ratio > limit)
    return code


def _seconds(command: list[str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "PYTHONDONTWRITEBYTECODE": ""})
    return time.perf_counter() - start


def _awq(folder: Path) -> Path:
    """A safetensors folder: 32 layers of 4-bit AWQ, 225 packed matrices with their scales and zero points."""
    import json

    import numpy as np
    from safetensors.numpy import save_file

    words, zeros, scales = np.zeros((256, 32), np.int32), np.zeros((2, 32), np.int32), np.ones((2, 256), np.float16)
    row, table, tensors = np.ones(256, np.float16), np.zeros((32000, 256), np.float16), {}
    for i in range(32):
        for name in ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"):
            path = f"model.layers.{i}.{'mlp' if name in ('gate_proj', 'up_proj', 'down_proj') else 'self_attn'}.{name}"
            tensors |= {f"{path}.qweight": words, f"{path}.qzeros": zeros, f"{path}.scales": scales}
        for name in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{name}.weight"] = row
    tensors |= {"model.embed_tokens.weight": table, "lm_head.weight": table, "model.norm.weight": row}
    folder.mkdir()
    save_file({name: array.copy() for name, array in tensors.items()}, folder / "model.safetensors")
    quantization = {"quant_method": "awq", "bits": 4, "group_size": 128, "zero_point": True, "version": "gemm"}
    config = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 256, "quantization_config": quantization}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 4, "intermediate_size": 256, "vocab_size": 32000}
    config |= {"rms_norm_eps": 1e-5, "tie_word_embeddings": False, "max_position_embeddings": 8192}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _gguf(path: Path) -> Path:
    """A GGUF with a vocabulary of 32,000 and 32 layers of headers, written with gguf-py."""
    import gguf
    import numpy as np

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_name("startup")
    writer.add_context_length(8192)
    writer.add_embedding_length(256)
    writer.add_block_count(32)
    writer.add_feed_forward_length(256)
    writer.add_head_count(4)
    writer.add_head_count_kv(4)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"token{i}" for i in range(32000)])
    writer.add_token_scores([0.0] * 32000)
    writer.add_token_types([1] * 32000)
    square, row = np.zeros((256, 256), np.float16), np.ones(256, np.float32)
    for i in range(32):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
            writer.add_tensor(f"blk.{i}.{name}.weight", square)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{name}.weight", row)
    writer.add_tensor("token_embd.weight", np.zeros((32000, 256), np.float16))
    writer.add_tensor("output_norm.weight", row)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


if __name__ == "__main__":
    sys.exit(main())
