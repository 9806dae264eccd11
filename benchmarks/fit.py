"""What `localq fit` says a model takes, against the peak resident memory of a process that runs it.

    python benchmarks/fit.py [MODEL ...]

Each model (default: the bundled one, and a llama of random 4-bit blocks) is loaded by the MLX engine on the CPU in a
process of its own, answers prompts of several lengths, and the process's peak is divided by the prediction.
Exit code 1 if one is more than 10 % off.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

RUN = """
import json, re, resource, sys
from localq.checkpoints import open_checkpoint
from localq.engines.mlx import MLXEngine
from localq.generate.samplers import Sampling
from localq.generate.tokenizer import open_tokenizer
path, tokens = sys.argv[1], int(sys.argv[2])
checkpoint = open_checkpoint(path)
tokenizer = open_tokenizer(checkpoint) if "tokenizer.json" in checkpoint.files or path.endswith(".gguf") else None
engine = MLXEngine(checkpoint)
for _ in engine.generate([i % 250 + 3 for i in range(tokens - 4)], Sampling(temperature=0, max_tokens=4)): pass
if sys.platform == "linux":  # not ru_maxrss: that begins with the size of the parent
    peak = 1024 * int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
else:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps(peak))
"""


def measured(path: str, tokens: int) -> int:
    """Peak resident bytes of a process that answers at this context."""
    done = subprocess.run([sys.executable, "-c", RUN, path, str(tokens)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return int(json.loads(done.stdout.splitlines()[-1]))


def predicted(path: str, tokens: int) -> int:
    """What `fit` says."""
    from localq.checkpoints import open_checkpoint
    from localq.fit.memory import need

    with open_checkpoint(path) as checkpoint:
        return need(checkpoint, tokens).total


def compare(path: str, tokens: int) -> float:
    """Measured / predicted, printed."""
    peak, said = measured(path, tokens), predicted(path, tokens)
    name, both = Path(path).name, f"peak {peak / 1e6:8.1f} MB  fit {said / 1e6:8.1f} MB"
    print(f"{name:<28} {tokens:>6} tokens  {both}  {peak / said:.3f}")
    return peak / said


def main() -> None:
    from localq.paths import demo_dir

    with tempfile.TemporaryDirectory() as folder:
        jobs = [(path, tokens) for path in sys.argv[1:] for tokens in (16, 512, 1000)]
        if not jobs:
            jobs = [(demo_dir(), tokens) for tokens in (16, 512, 1000)]
            model = str(_random_llama(Path(folder)))
            jobs += [(model, tokens) for tokens in (64, 700)]
        ratios = [compare(path, tokens) for path, tokens in jobs]
    sys.exit(any(not 0.9 <= ratio <= 1.1 for ratio in ratios))


def _random_llama(folder: Path) -> Path:
    sys.path.insert(0, str(Path(__file__).parent))
    from memory import Size, write_mlx

    return write_mlx(folder / "llama-4bit", Size())


if __name__ == "__main__":
    main()
