"""Instructions per weight in the inner loop of `qmv`, by class, of NVIDIA's GPUs (sm_90a). No GPU is used.

python -m tools.instructions [--plain] [FORMAT ...]        which packages: tools/toolkit.py; default: every ggml type

They are facts of the text and of one compiler, not times, and Apple's compiler writes others; good for comparing two
texts of one kernel. Conversions (`to float`) take two to eight times as long as the others. `--plain` counts with the
`dot` of dot.h in place of a struct's own, which decodes 16 weights before it multiplies them. Rows share the
activations they load; loads of those are counted too.
"""

from __future__ import annotations

import argparse
import re
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np

from localq.formats import FORMATS, find
from localq.kernels import arrays
from localq.kernels.checks import random_tensor
from localq_metal.cuda import translate, translated
from localq_metal.qmv import qmv
from tests.metal.cuda import generated
from tools.toolkit import MISSING, Compiler, disassembler, folder, inner_loop, instructions

SHAPE = (128, 16384)
ARCH = "sm_90a"
CLASSES = {  # what an instruction's name begins with; moves, branches and predicates are in `all` alone
    "loads": r"LD",
    "logic": r"LOP3|LOP|POPC",
    "float": r"F(ADD|MUL|FMA|SEL|MNMX)|H(ADD|MUL|FMA)2",
    "integer": r"IADD3|IMAD(?!\.MOV)|VIADD|LEA|IMNMX|VIMNMX|IABS",
    "select": r"ISETP|FSETP|SEL",
    "shifts": r"SHF|PRMT|SGXT|BMSK",
    "to float": r"I2F|F2F|I2FP",
    "all": r"",
}


def text_of(name: str, plain: bool) -> str:
    """The CUDA text of the format's `qmv`, one launch recorded."""
    form = find(name)
    assert form is not None, name
    one = arrays.inputs(random_tensor(form, SHAPE, np.random.default_rng(0)))
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


def counts(compiler: Compiler, tool: str, name: str, plain: bool = False) -> dict[str, float]:
    """Class -> instructions per weight; empty where the loop over pieces is no loop."""
    text = text_of(name, plain)
    run, span = (int(re.search(rf"\b{word} = (\d+)", text)[1]) for word in ("RUN", "SPAN"))  # type: ignore[index]
    weights = run * span * int(re.search(r"int R = (\d+)", text)[1])  # type: ignore[index]
    unrolled = re.sub(r"\bfor \(uint (?!p = lane)", "\n#pragma unroll\nfor (uint ", text)
    cubin, log = compiler.compile(unrolled, ARCH)
    if not cubin:
        raise SystemExit(f"{name} does not compile:\n{log[:2000]}")
    body = inner_loop(instructions(tool, cubin))
    return {kind: sum(bool(re.match(word, op)) for op in body) / weights for kind, word in CLASSES.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("formats", nargs="*", default=[n for n, f in FORMATS.items() if f.family == "ggml"])
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--toolkit", type=Path, default=folder(), help="folder with lib/ and include/")
    asked = parser.parse_args()
    tool = disassembler(asked.toolkit) if asked.toolkit else None
    if tool is None:
        raise SystemExit(f"{MISSING}; or name its folder: --toolkit.")
    compiler = Compiler(asked.toolkit)
    print("format".ljust(14) + "".join(f"{kind:>10}" for kind in CLASSES))
    for name in asked.formats:
        found = counts(compiler, tool, name, asked.plain)
        print(name.ljust(14) + "".join(f"{n:10.2f}" for n in found.values()), flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
