"""What `fit` says against the peak of real processes, weights against files, and the verb itself."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import localq
from localq.errors import UnsupportedError
from localq.fit.machines import Target, sized
from localq.fit.memory import GPU_GROWTH, need
from localq.fit.report import fit
from localq.formats import FORMATS
from localq.formats.base import PackedTensor
from localq.hardware import Bandwidth
from localq.paths import demo_dir

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "fit.py"


def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("benchmark_fit", BENCHMARK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(sys.platform != "linux", reason="the constants for CPU were calibrated on Linux")
@pytest.mark.parametrize("tokens", [32, 900])
def test_the_sum_is_the_peak_of_a_real_run_within_a_tenth(tokens: int) -> None:
    assert benchmark().compare(demo_dir(), tokens) == pytest.approx(1, abs=0.1)


def test_real_small_models_too(data_dir: Path) -> None:
    model = data_dir / "models" / "tinychat-gguf" / "tinychat-Q4_K_M.gguf"
    assert benchmark().compare(str(model), 600) == pytest.approx(1, abs=0.1)


def test_weights_are_the_bytes_of_the_file() -> None:
    with localq.open_checkpoint(demo_dir()) as checkpoint:
        weights = need(checkpoint, 100).term("weights").nbytes
        assert weights == sum(checkpoint[name].nbytes for name in checkpoint)


@pytest.mark.parametrize("name", sorted(GPU_GROWTH))
def test_growth_on_a_gpu_is_that_of_the_native_mode(name: str) -> None:
    import numpy as np

    form = FORMATS[name]
    (part,) = form.layout((64, 256)).values()
    tensor = PackedTensor(form, (64, 256), {"weight": np.zeros(part.shape, np.uint8)})
    native = form.to_native(tensor)
    assert native is not None and native.biases is not None
    size = native.weight.nbytes + native.scales.nbytes + native.biases.nbytes
    assert size / tensor.nbytes == pytest.approx(GPU_GROWTH[name])


def test_the_longest_context_that_fits_is_found() -> None:
    with localq.open_checkpoint(demo_dir()) as checkpoint:
        exactly = need(checkpoint, 600).total
        target = Target("a test", "cpu", exactly, exactly, Bandwidth(None, "unknown"))
        found = fit(checkpoint, target)
        assert not found.fits  # 1024 tokens, the model's own context
        assert 600 <= found.largest < 1024
        assert need(checkpoint, found.largest).total <= exactly < need(checkpoint, found.largest + 1).total


def test_a_container_without_a_config_cannot_be_counted(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(4, np.float32)}, tmp_path / "model.safetensors")
    with localq.open_checkpoint(tmp_path) as checkpoint, pytest.raises(UnsupportedError, match="config"):
        fit(checkpoint, sized("8GB"))


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localq.cli.main", "fit", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})


def test_the_verb_shows_terms_that_add_up() -> None:
    done = run("demo", "--json", "--machine", "M4 Pro 48GB", "--context", "512")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["fits"] and sum(term["bytes"] for term in found["terms"].values()) == found["total"]
    assert found["context"] == 512 and found["decode_tokens_per_second"] > 0


def test_what_does_not_fit_is_exit_code_4() -> None:
    done = run("demo", "--memory", "64MB")
    assert done.returncode == 4
    assert "does not fit" in done.stdout


def test_moving_the_context_moves_the_command() -> None:
    short = run("demo", "--for", "vllm", "--context", "256", "--machine", "RTX 4090").stdout
    assert "--max-model-len 256" in short
    assert short != run("demo", "--for", "vllm", "--context", "1024", "--machine", "RTX 4090").stdout


def test_mlx_is_not_imported() -> None:
    code = (
        "import sys; from localq.cli.main import main; main(['fit', 'demo', '-q']);"
        "sys.exit(bool({'mlx', 'mlx_lm', 'torch'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
