"""Keys of GGUF files changed one by one: localq's logits must move as llama.cpp's do, or the file be refused.

python -m tools.keys_gguf [CASE ...]        cases are those of tests/oracles/test_more_architectures.py; default: all

A line for each finding, none for keys that agree: `ignored` (llama.cpp moves, localq does not), `differs` (both move,
not to the same), `alone` (localq alone moves), `crash` (llama.cpp ends the process, for which every case has one).
Sizes are left alone: tensors of other shapes are refused anyway. Findings are to be read: some are a key's meaning in
the published model, which llama.cpp has otherwise, or values that make no model.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np

import localq
from localq.errors import LocalqError
from tests.factories import more
from tests.oracles import second_engine
from tests.oracles.golden import IDS
from tests.oracles.test_more_architectures import CASES

SIZES = re.compile(
    r"length|(head|block|expert|shared)_count|lora_rank|dimension_count|ssm\.|wkv|nextn|vocab_size|layout|finetuned"
)
Change = Callable[[Any], Any]
MOVED = 1e-4  # of the logits' range


def changes(kind: str) -> dict[str, Change]:
    """What is done to a value of this type."""
    if kind == "BOOL":
        return {"flipped": lambda a: ~a.astype(bool)}
    if "INT" in kind:
        return {"+ 1": lambda a: a + 1, "halved": lambda a: np.maximum(a // 2, 1)}
    return {"* 2 + 0.1": lambda a: a * 2 + 0.1}


def patched(path: Path, key: str, change: Change) -> list[Any]:
    """Changes a key where it lies, and gives its old values."""
    reader = gguf.GGUFReader(str(path), "r+")
    field, old = reader.fields[key], []
    for at in field.data:
        old.append(field.parts[at].copy())
        field.parts[at][...] = change(field.parts[at].copy())
    return old


def distance(a: Any, b: Any) -> float:
    return float(np.abs(a - b).max() / np.ptp(b))


def ours(path: Path) -> Any:
    with localq.load(str(path), engine="mlx", context=64) as model:
        return model.logits(IDS)


def keys(path: Path, prefix: str) -> Iterator[tuple[str, str]]:
    """Keys of the architecture that are no sizes, and their types."""
    for key, field in gguf.GGUFReader(str(path)).fields.items():
        if key.startswith(f"{prefix}.") and not SIZES.search(key) and field.types[-1].name != "STRING":
            yield key, field.types[-1].name


def finding(path: Path, key: str, change: Change, before: tuple[Any, Any], bound: float) -> str:
    """One of the words above, "" where both agree."""
    old = patched(path, key, change)
    try:
        theirs = second_engine.logits(path, IDS)
        try:
            found = ours(path)
        except LocalqError:
            return ""
    except ValueError:  # llama.cpp refuses it too
        return ""
    finally:
        values = iter(old)
        patched(path, key, lambda _: next(values))
    moved = [distance(now, then) > MOVED for now, then in zip((theirs, found), before, strict=True)]
    if moved == [True, True] and distance(found, theirs) > 5 * bound:
        return f"differs by {distance(found, theirs):.2g}"
    return {(True, False): "ignored", (False, True): "alone"}.get((moved[0], moved[1]), "")


def child(name: str, done: set[str]) -> None:
    """Every key of one case but those that are done."""
    case = CASES[name]
    with tempfile.TemporaryDirectory() as folder:
        path = more.write(more.make(name, case), case, Path(folder) / "f.gguf")
        before = second_engine.logits(path, IDS), ours(path)
        for key, kind in keys(path, case.gguf):
            for words, change in changes(kind).items():
                if f"{key} {words}" not in done:
                    print(f"try {key} {words}", flush=True)
                    said = finding(path, key, change, before, case.bound)
                    print(f"{name}: {key} {words}: {said}" if said else "same", flush=True)


def main(names: list[str]) -> int:
    for name in names or [name for name, case in CASES.items() if case.llama_cpp]:
        done: list[str] = []
        while True:
            command = [sys.executable, "-m", "tools.keys_gguf", "--child", name, *done]
            ran = subprocess.run(command, capture_output=True, text=True)
            lines = ran.stdout.splitlines()
            tried = [line[4:] for line in lines if line.startswith("try ")]
            for line in lines:
                if line.startswith(f"{name}: "):
                    print(line, flush=True)
            done += tried
            if ran.returncode == 0 or not tried:
                print(
                    f"{name}: {len(done)} tried" + ("" if ran.returncode == 0 else f"; {ran.stderr[-300:]}"), flush=True
                )
                break
            print(f"{name}: {tried[-1]}: crash", flush=True)
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], set(sys.argv[3:]))
    else:
        sys.exit(main(sys.argv[1:]))
