"""Instructions per weight in the inner loop of `qmv`, by class, counted in the PTX that nvcc writes. No GPU is used.

python tools/instructions.py [--plain] [FORMAT ...]        needs nvcc; default: every ggml type

They are facts of the text and of one compiler's front end, not times, and Apple's compiler writes others; good for
comparing two texts of one kernel. `--plain` counts with the `dot` of dot.h in place of a struct's own, which decodes 16
weights before it multiplies them. Rows share the activations they load; loads of those are counted too.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from localq.formats import FORMATS  # noqa: E402
from localq.kernels import arrays  # noqa: E402
from localq.kernels.checks import random_tensor  # noqa: E402
from localq_metal.cuda import translate, translated  # noqa: E402
from localq_metal.qmv import qmv  # noqa: E402
from tests.metal.cuda import generated  # noqa: E402
from tools.cuda_kernels import UTILS  # noqa: E402

SHAPE = (64, 16384)
CLASSES = {  # what a PTX instruction begins with; moves, branches and predicates are not listed
    "loads": r"ld\.(global|const)",
    "and, or": r"(and|or|xor|not|lop3)\.",
    "float": r"(add|sub|mul|fma|neg)\.(rn\.)?f32",
    "integer": r"(add|sub|mul|mad|min|max)\.(?!rn\.f32|f32)",
    "select": r"(setp|selp|slct)\.",
    "shifts": r"(shl|shr|shf|bfe|bfi|prmt)\.",
    "to float": r"cvt\.rn\.f32|cvt\.f32\.f16",
}


def text_of(name: str, plain: bool) -> str:
    """The CUDA text of the format's `qmv`, one launch recorded."""
    t = random_tensor(FORMATS[name], SHAPE, np.random.default_rng(0))
    one = arrays.inputs(t)
    assert one is not None, name
    seen: list[str] = []

    def recorder(**made: Any) -> Any:
        made["header"] = with_plain_dot(made["header"]) if plain else made["header"]

        def launch(**how: Any) -> list[mx.array]:
            seen.append(generated(made, how)[0])
            return [mx.zeros(how["output_shapes"][0])]

        return launch

    packed = arrays.packed([one], SHAPE)
    qmv(partial(translated, recorder), packed, mx.zeros((1, SHAPE[1])))
    return seen[0].replace("for (uint p = lane", "\n#pragma unroll 1\nfor (uint p = lane")


def with_plain_dot(header: str) -> str:
    """A struct's text with the `dot` of dot.h."""
    header = re.sub(r"^ *enum \{ RUN .*\n", "", header, flags=re.M).replace(" dot(", " own_dot(")
    end = header.index("\n};", header.index("struct Format {"))
    return header[:end] + "\n" + translate((files("localq_metal") / "dot.h").read_text("utf-8")) + header[end + 1 :]


def ptx(text: str) -> str:
    """What nvcc's front end makes of it."""
    with tempfile.TemporaryDirectory() as folder:
        utils = Path(folder) / "mlx/backend/cuda/device/utils.cuh"
        utils.parent.mkdir(parents=True)
        utils.write_text(UTILS)
        source = Path(folder) / "kernel.cu"
        unrolled = re.sub(r"\bfor \(uint (?!p = lane)", "\n#pragma unroll\nfor (uint ", text)
        source.write_text(unrolled)
        command = ["nvcc", "-arch=sm_90", "-std=c++17", "-O3", "-ptx", f"-I{folder}", "-o", "-", str(source)]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def inner_loop(lines: list[str]) -> list[str]:
    """The longest run of lines from a label to the branch back to it."""
    labels = {line.strip().rstrip(":"): at for at, line in enumerate(lines) if line.strip().endswith(":")}
    loops = [(labels[m[1]], at) for at, line in enumerate(lines) if (m := re.search(r"bra\S*\s+(\$\S+);", line))]
    start, end = max(((a, b) for a, b in loops if a < b), key=lambda loop: loop[1] - loop[0])
    return [re.sub(r"^@\S+\s+", "", line.strip()) for line in lines[start:end]]


def counts(name: str, plain: bool) -> dict[str, float]:
    """Class -> instructions per weight."""
    text = text_of(name, plain)
    run, span = (int(re.search(rf"\b{word} = (\d+)", text)[1]) for word in ("RUN", "SPAN"))  # type: ignore[index]
    weights = run * span * int(re.search(r"int R = (\d+)", text)[1])  # type: ignore[index]
    body = inner_loop(ptx(text).splitlines())
    return {kind: sum(bool(re.match(word, line)) for line in body) / weights for kind, word in CLASSES.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=[n for n, f in FORMATS.items() if f.family == "ggml"])
    parser.add_argument("--plain", action="store_true")
    asked = parser.parse_args()
    print("format".ljust(14) + "".join(f"{kind:>10}" for kind in CLASSES))
    for name in asked.formats:
        print(name.ljust(14) + "".join(f"{n:10.2f}" for n in counts(name, asked.plain).values()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
