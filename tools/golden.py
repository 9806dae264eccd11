"""Writes localq/kernels/golden.json, the stored cases of `localq doctor --kernels`: python tools/golden.py"""

from __future__ import annotations

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localq.kernels import golden  # noqa: E402
from tests.metal.blocks import oracle  # noqa: E402


def main() -> int:
    found = {}
    for fmt in golden.examples():
        t = golden.tensor(fmt)
        weights = oracle(t) if fmt.family == "ggml" else t.dequantize()
        found[fmt.name] = (golden.stored(t), golden.hashed(weights))
    rows = ",\n".join(f"{json.dumps(name)}: {json.dumps(pair)}" for name, pair in sorted(found.items()))
    (ROOT / "localq/kernels/golden.json").write_text(f"{{\n{rows}\n}}\n")
    print(f"{len(found)} cases")
    return 0


if __name__ == "__main__":
    sys.exit(main())
