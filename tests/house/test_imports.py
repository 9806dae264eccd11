"""What an import may cost, proved on `sys.modules` of a fresh process."""

from __future__ import annotations

import ast
import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from localq.formats.index import FILES
from tests.factories import MlxQuant, build, write_gguf, write_hf, write_mlx
from tools.size import ROOT, python_files


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


HEAVY = {"mlx", "mlx_lm", "transformers", "torch", "textual", "numpy", "gguf", "tokenizers", "jinja2", "llama_cpp"}


def loaded_after(code: str) -> set[str]:
    """Top-level modules in `sys.modules` after running `code` in a fresh interpreter."""
    show = "\nimport json, sys; sys.stderr.write(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    return set(json.loads(done.stderr))


@pytest.mark.parametrize(
    "module",
    [
        "localq",
        "localq.errors",
        "localq.paths",
        "localq.settings",
        "localq.hardware",
        "localq.hub.refs",
        "localq.checkpoints.base",
        "localq.checkpoints.gguf",
        "localq.formats.ggml_types",
        "localq.inspect.truth",
        "localq.inspect.explain",
        "localq.cli.main",
        "localq.cli.explain",
        "localq.cli.run",
        "localq.cli.chat",
        "localq.cli.doctor",
    ],
)
def test_cheap_modules_import_nothing_heavy(module: str) -> None:
    assert not loaded_after(f"import {module}") & HEAVY


@pytest.mark.parametrize("module", ["localq.cli.main", "localq.checkpoints.gguf", "localq.checkpoints.base"])
def test_start_up_imports_stay_few(module: str) -> None:
    """Each of these costs milliseconds of the first answer."""
    assert not loaded_after(f"import {module}") & {
        "dataclasses",
        "pathlib",
        "inspect",
        "asyncio",
        "argparse",
        "json",
    } - (loaded_after("pass"))


def test_help_imports_no_verb() -> None:
    code = "from localq.cli.main import main; main(['--help'])"
    show = "\nimport sys; sys.stderr.write(' '.join(m for m in sys.modules if m.startswith('localq.cli.')))"
    done = subprocess.run([sys.executable, "-c", code + show], capture_output=True, text=True, check=True)
    assert done.stderr.split() == ["localq.cli.main"]


def test_explaining_a_gguf_imports_no_numpy(tmp_path: Path) -> None:
    file = write_gguf(build("llama"), tmp_path / "tiny.gguf", "f32")
    code = f"from localq.cli.main import main; assert main(['explain', {str(file)!r}]) == 0"
    assert not loaded_after(code) & HEAVY - {"numpy"}
    assert run(code + RAN).splitlines()[-1] == "none"


LAZY = "from localq.cli.start import import_numpy_on_first_use as lazy; lazy(); "
RAN = "; import sys; print({'numpy._core', 'ml_dtypes._finfo'} & set(sys.modules) or 'none')"


def test_files_of_stored_formats_do_not_touch_numpy_while_imported() -> None:
    """So that looking at headers costs no import of numpy; GGUF's are not imported for it."""
    files = ", ".join(f"localq.formats.{name}" for name in FILES)
    assert run(LAZY + f"import {files}" + RAN) == "none"


def test_numpy_that_waits_is_numpy() -> None:
    code = "import numpy as np, ml_dtypes, numpy.linalg; from numpy.typing import NDArray; import sys; "
    check = "print(np.ones(2, ml_dtypes.bfloat16).sum(), np.linalg.det(np.eye(2)), type(np).__name__)"
    assert run(LAZY + code + check) == "2 1.0 module"


def test_fit_of_packed_and_explain_of_float_folders_touch_no_numpy(tmp_path: Path) -> None:
    write_mlx(build("llama"), tmp_path / "packed", MlxQuant("affine", 4, 32))
    write_hf(build("llama"), tmp_path / "plain")
    for verb, folder in (("fit", "packed"), ("explain", "plain"), ("fit", "plain")):
        code = f"from localq.cli.main import main; assert main([{verb!r}, {str(tmp_path / folder)!r}, '-q']) == 0"
        assert run(code + RAN).splitlines()[-1] == "none", (verb, folder)


@pytest.mark.parametrize("floor", ["formats", "checkpoints", "labels", "hub", "inspect", "fit", "cli"])
def test_no_mlx_at_module_level(floor: str) -> None:
    """MLX may be missing or broken on a machine that only wants to read."""
    assert not [hit for hit in module_level_imports(ROOT / "localq" / floor) if hit[1] in ("mlx", "mlx_lm")]


def test_no_torch_and_no_transformers_at_module_level() -> None:
    heavy = ("transformers", "mlx_lm", "torch")
    assert not [hit for hit in module_level_imports(ROOT / "localq") if hit[1] in heavy]


def module_level_imports(folder: Path) -> list[tuple[str, str]]:
    """(file, top-level module) of every import statement that runs when the file is imported."""
    found = []
    for path in python_files():
        if folder not in path.parents:
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [node.module]
            found += [(str(path.relative_to(ROOT)), name.split(".")[0]) for name in names]
    return found


def test_all_is_complete() -> None:
    """Every name of `localq.__all__` can be had, `dir` shows them, and nothing public is missing from it."""
    localq = importlib.import_module("localq")
    assert list(localq.__all__) == sorted(localq.__all__)
    for name in localq.__all__:
        assert getattr(localq, name) is not None
    assert set(localq.__all__) <= set(dir(localq))
    assert {"load", "open_checkpoint"} <= set(localq.__all__)
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = localq.no_such_name
