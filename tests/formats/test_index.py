"""The table of localq.formats.index says what the files say, and saves what it promises."""

from __future__ import annotations

import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

from localq import formats
from localq.formats import FORMATS
from localq.formats.base import Format
from localq.formats.index import FILES, OTHERS, PLAIN, all_names
from tests.packed.fixtures import variants, write


def file_of(fmt: type[Format]) -> str:
    """The file of a class, or of the class it was made from on the fly."""
    return next(c.__module__ for c in fmt.__mro__ if c.__module__ != "types").rpartition(".")[2]


def test_the_table_is_what_the_files_say() -> None:
    said: dict[str, tuple[set[str], set[str]]] = {}
    for fmt in FORMATS.values():
        if fmt.match.__func__ is not Format.match.__func__:
            mains, beside = said.setdefault(file_of(fmt), (set(), set()))
            mains |= set(fmt.mains)
            beside |= {*fmt.suffixes, *fmt.unused} - set(fmt.mains)
    listed = {name: (set(mains.split()), set(beside.split())) for name, (mains, beside) in FILES.items()}
    there = {module.name for module in pkgutil.iter_modules(formats.__path__)}
    listed = {name: names for name, names in listed.items() if name in there}
    assert listed == said, "a line of FILES in localq/formats/index.py is missing or wrong"
    assert OTHERS == there - set(FILES), "OTHERS in localq/formats/index.py names the files that match nothing"
    assert {FORMATS[name].__name__ for name in PLAIN.values()} == {"F32", "F16", "BF16"}
    mains, beside = all_names()
    assert mains >= {"qweight", "weight"} and beside >= mains | {"weight_scale_2"}


@pytest.mark.parametrize(("file", "name", "few"), [("awq", None, 14), ("gptq", "v1_4_sym", 14), ("fp8", "tensor", 30)])
def test_a_folder_imports_its_own_formats_only(tmp_path: Path, file: str, name: str | None, few: int) -> None:
    found = variants(f"{file}.safetensors")
    variant = found[name or next(iter(found))]
    write(tmp_path, variant.parts, variant.config)
    script = (
        "import sys; from localq.checkpoints import open_checkpoint as o; c = o(sys.argv[1]); "
        "print(*c.formats, sum(m.startswith('localq.formats.') for m in sys.modules), 'numpy.random' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert int(out[-2]) <= few and out[-1] == "False", out
