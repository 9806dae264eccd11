"""Opening a GGUF with a large vocabulary: localq's reader against gguf-py's, and header reading against bare Python.

    python benchmarks/open_gguf.py [--tokens 152064] [--merges 151387] [--repeats 5]

One run writes the file, reads it with both readers and prints the ratios; times are the best of `--repeats`
(gguf-py, which takes seconds, runs once). Starts of a new interpreter are medians, bare ones between the others so
that a busy machine slows both alike. Exit code 1 if opening is less than 50 times as fast as in gguf-py.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

from localq.checkpoints.gguf import GGUFCheckpoint, GGUFFile

TARGET = 50
LISTS = ("tokenizer.ggml.tokens", "tokenizer.ggml.token_type", "tokenizer.ggml.merges")


def write(path: Path, tokens: int, merges: int) -> None:
    """A file with a vocabulary like Qwen's and a few small tensors; no model, so that only reading is timed."""
    writer = gguf.GGUFWriter(str(path), "qwen3")
    writer.add_type("vocabulary")
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list([f"Ġtoken{i:x}" for i in range(tokens)])
    writer.add_token_types([1] * tokens)
    writer.add_token_merges([f"Ġto{i:x} ken{i:x}" for i in range(merges)])
    for layer in range(36):
        writer.add_tensor(f"blk.{layer}.attn_norm.weight", np.ones(64, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def best(action: Callable[[], object], repeats: int) -> float:
    """Least seconds of `repeats` runs."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def read_lists(path: Path) -> int:
    """Open and decode the three long arrays; how many elements they have."""
    metadata = GGUFFile(path).metadata
    return sum(len(metadata[name]) for name in LISTS)


def starts(commands: dict[str, str], repeats: int) -> dict[str, float]:
    """Median seconds of `python -c` for each command, run in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, code in commands.items():
            seconds[name].append(best(lambda code=code: subprocess.run([sys.executable, "-c", code], check=True), 1))
    return {name: statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    """Write, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("tokens", 152_064), ("merges", 151_387), ("repeats", 5)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vocabulary.gguf"
        write(path, options.tokens, options.merges)
        print(f"{options.tokens} tokens, {options.merges} merges, {path.stat().st_size / 1e6:.1f} MB")
        ours = best(lambda: GGUFCheckpoint(path), options.repeats)
        decoded = best(lambda: read_lists(path), options.repeats)
        theirs = best(lambda: gguf.GGUFReader(path), 1)
        print(f"gguf-py, open                  {theirs * 1e3:9.1f} ms")
        print(f"localq, open                   {ours * 1e3:9.1f} ms   {theirs / ours:7.0f} x as fast")
        print(f"localq, open and decode arrays {decoded * 1e3:9.1f} ms   {theirs / decoded:7.0f} x as fast")
        small = Path(folder) / "small.gguf"
        write(small, 1000, 1000)
        opening = "from localq.checkpoints.gguf import GGUFCheckpoint; GGUFCheckpoint({!r}).formats"
        commands = {
            "python -c pass": "pass",
            "import localq.checkpoints.gguf": "import localq.checkpoints.gguf",
            "header of a small file": opening.format(str(small)),
            "header of this file": opening.format(str(path)),
        }
        times = starts(commands, 3 * options.repeats)
        bare = times["python -c pass"]
        for name, seconds in times.items():
            print(f"{name:30} {seconds * 1e3:9.1f} ms   {seconds / bare:7.1f} x bare Python")
    return 0 if theirs / ours >= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
