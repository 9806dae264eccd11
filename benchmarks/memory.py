"""Memory while a packed model runs: peak against packed weights + 2 dequantised layers + KV cache.

    python benchmarks/memory.py [--layers 24] [--tokens 600] [--container gguf mlx]

One run writes a llama of random blocks (370M weights, about 210 MB; q4_k and q6_k as GGUF, 4-bit affine as an MLX
folder), prefills `--tokens` tokens and decodes four more in a process of its own with the MLX engine, and prints
that process's peak resident memory above what it held after all imports. Mapped file pages count as resident.
Exit code 1 if a peak is above the bound.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np


class Size(NamedTuple):
    """A llama: all sides multiples of 256."""

    layers: int = 24
    hidden: int = 1024
    feed_forward: int = 2816
    vocabulary: int = 32000
    heads: int = 16
    kv_heads: int = 8

    @property
    def layer_bytes(self) -> int:
        """One layer's weights as float32."""
        kv = self.hidden * self.kv_heads // self.heads
        return 4 * self.hidden * (2 * self.hidden + 2 * kv + 3 * self.feed_forward)

    def kv_bytes(self, tokens: int) -> int:
        """Keys and values in float32, in mlx-lm's steps of 256 tokens."""
        width = 2 * self.layers * self.kv_heads * (self.hidden // self.heads)
        return 4 * width * (-(-tokens // 256) * 256)

    def matrices(self) -> dict[str, tuple[int, int]]:
        """GGUF name -> [out, in]."""
        h, f, kv = self.hidden, self.feed_forward, self.hidden * self.kv_heads // self.heads
        block = {
            "attn_q": (h, h),
            "attn_k": (kv, h),
            "attn_v": (kv, h),
            "attn_output": (h, h),
            "ffn_gate": (f, h),
            "ffn_up": (f, h),
            "ffn_down": (h, f),
        }
        out = {f"blk.{i}.{name}.weight": shape for i in range(self.layers) for name, shape in block.items()}
        return {"token_embd.weight": (self.vocabulary, h), **out, "output.weight": (self.vocabulary, h)}


def write_gguf(path: Path, size: Size) -> Path:
    """The model as GGUF: value, down and output rows in q6_k, the rest in q4_k, as Q4_K_M has it."""
    import gguf

    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(size.layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(size.hidden)
    writer.add_feed_forward_length(size.feed_forward)
    writer.add_head_count(size.heads)
    writer.add_head_count_kv(size.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(size.vocabulary)
    for name, shape in size.matrices().items():
        better = any(part in name for part in ("attn_v", "ffn_down", "output.weight")) and "attn_output" not in name
        kind = gguf.GGMLQuantizationType.Q6_K if better else gguf.GGMLQuantizationType.Q4_K
        writer.add_tensor(name, _blocks(kind.name.lower(), shape), raw_dtype=kind)
    for i in range(size.layers):
        for norm in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{i}.{norm}.weight", np.ones(size.hidden, np.float32))
    writer.add_tensor("output_norm.weight", np.ones(size.hidden, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _blocks(kind: str, shape: tuple[int, int]) -> Any:
    """Random blocks of small weights: 4096 drawn ones, repeated."""
    from localq.formats.ggml_types import GGML_BY_NAME

    block = GGML_BY_NAME[kind]
    drawn = np.random.default_rng(0).integers(0, 256, (4096, block.bytes), np.uint8)
    scales = {"q4_k": (0, 2), "q6_k": (block.bytes - 2,)}[kind]  # where the float16 scales lie
    for at in scales:
        drawn[:, at : at + 2] = np.full(4096, 1e-4, np.float16).view(np.uint8).reshape(-1, 2)
    count = shape[0] * shape[1] // block.block
    return np.resize(drawn, (count, block.bytes)).reshape(shape[0], -1)


def write_mlx(folder: Path, size: Size) -> Path:
    """The model as an MLX folder, every matrix 4-bit affine in groups of 64."""
    from safetensors.numpy import save_file

    names = {
        "token_embd": "model.embed_tokens",
        "output": "lm_head",
        "attn_q": "self_attn.q_proj",
        "attn_k": "self_attn.k_proj",
        "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj",
        "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj",
        "ffn_down": "mlp.down_proj",
    }
    rng = np.random.default_rng(0)
    tensors = {"model.norm.weight": np.ones(size.hidden, np.float16)}
    for name, (rows, columns) in size.matrices().items():
        *layer, last = name.removesuffix(".weight").split(".")
        path = f"model.layers.{layer[1]}.{names[last]}" if layer else names[last]
        tensors[f"{path}.weight"] = rng.integers(0, 1 << 32, (rows, columns // 8), np.uint32)
        tensors[f"{path}.scales"] = np.full((rows, columns // 64), 1e-3, np.float16)
        tensors[f"{path}.biases"] = np.full((rows, columns // 64), -8e-3, np.float16)
    for i in range(size.layers):
        for norm in ("input_layernorm", "post_attention_layernorm"):
            tensors[f"model.layers.{i}.{norm}.weight"] = np.ones(size.hidden, np.float16)
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors", metadata={"format": "mlx"})
    (folder / "config.json").write_text(json.dumps(_config(size)))
    return folder


def _config(size: Size) -> dict[str, Any]:
    return {
        "model_type": "llama",
        "hidden_size": size.hidden,
        "intermediate_size": size.feed_forward,
        "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads,
        "num_key_value_heads": size.kv_heads,
        "vocab_size": size.vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "quantization": {"group_size": 64, "bits": 4},
    }


_CHILD = """
import json, sys
import mlx_lm.utils, mlx_lm.models.llama, mlx_lm.models.cache, mlx_lm.models.mla, mlx_lm.models.switch_layers
import mlx.core as mx, numpy as np
from localq.checkpoints import open_checkpoint
from localq.engines.mlx import MLXEngine
from localq.formats import FORMATS
from localq.generate.samplers import Sampling

FORMATS  # imports every format
mx.eval(mx.ones((64, 64)) @ mx.ones((64, 64)))
np.ones((512, 512), np.float32) @ np.ones((512, 512), np.float32)  # OpenBLAS takes its buffers now

def memory(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))

with open("/proc/self/clear_refs", "w") as file:
    file.write("5")  # the peak so far was the imports'
baseline = memory("VmRSS")
checkpoint = open_checkpoint(sys.argv[1])
engine = MLXEngine(checkpoint)
loaded = memory("VmHWM")
ids = [3 + i % 1000 for i in range(int(sys.argv[2]))]
made = len(list(engine.generate(ids, Sampling(temperature=0, max_tokens=4))))
peak = memory("VmHWM") - baseline
print(json.dumps({"packed": checkpoint.nbytes, "load": loaded - baseline, "peak": peak, "made": made}))
"""


def measure(path: Path, tokens: int) -> dict[str, int]:
    """Bytes above the baseline in a process of its own: packed size, peak of loading, peak of all; tokens made.

    Linux only: the peak is VmHWM of /proc/self/status.
    """
    run = subprocess.run(
        [sys.executable, "-c", _CHILD, str(path), str(tokens)], capture_output=True, text=True, check=True
    )
    found: dict[str, int] = json.loads(run.stdout)
    return found


def ratio(found: dict[str, int], size: Size, tokens: int) -> float:
    """Peak over packed weights + 2 dequantised layers + KV cache."""
    return found["peak"] / (found["packed"] + 2 * size.layer_bytes + size.kv_bytes(tokens))


def main() -> int:
    """Write, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--tokens", type=int, default=600)
    parser.add_argument("--container", nargs="+", choices=("gguf", "mlx"), default=["gguf", "mlx"])
    args = parser.parse_args()
    size = Size(layers=args.layers)
    worst = 0.0
    print("container   packed MB  load MB  peak MB  2 layers MB  KV MB  peak / bound")
    with tempfile.TemporaryDirectory() as folder:
        for container in args.container:
            where = Path(folder) / f"model-{container}"
            path = write_gguf(where.with_suffix(".gguf"), size) if container == "gguf" else write_mlx(where, size)
            found = measure(path, args.tokens)
            share = ratio(found, size, args.tokens)
            worst = max(worst, share)
            cells = (found["packed"], found["load"], found["peak"], 2 * size.layer_bytes, size.kv_bytes(args.tokens))
            print(f"{container:10}" + "".join(f"{c / 1e6:10.0f}" for c in cells) + f"{share:12.2f}")
    return 0 if worst <= 1 else 1


if __name__ == "__main__":
    sys.exit(main())
