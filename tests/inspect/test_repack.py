"""What `explain` says of MLX's modes: the load report's words, told from a few rows or measured on all weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from localq.checkpoints import open_checkpoint
from localq.errors import UsageError
from localq.inspect.explain import histogram
from localq.inspect.truth import read_truth
from localq.models.loader import load_model
from tests.factories.tiny import build
from tests.packed.fixtures import NAME, variants, write
from tests.packed.models import awq, gptq, write_both
from tests.packed.test_models_codes import SKIPPED

GPTQ = {"quant_method": "gptq", "bits": 4, "group_size": 64, "sym": True, "desc_act": True}


def test_the_report_of_a_load_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALQ_KERNELS", "native")  # as on a GPU
    pick = lambda path, weight: None if SKIPPED.search(path) else gptq(4, 64, True, True)  # noqa: E731
    packed, _ = write_both(build("llama"), tmp_path, pick, GPTQ)
    with open_checkpoint(packed) as checkpoint:
        said, measured = read_truth(checkpoint).formats, read_truth(checkpoint, measured=True).formats
        rows = {row.format: row for row in load_model(checkpoint)[0].report.rows}
    name = next(name for name in said if name.startswith("gptq"))
    assert rows[name].way.startswith(f"native {measured[name].native}") and said[name].native == measured[name].native
    assert (measured[name].exactness, measured[name].error) == (rows[name].exactness, rows[name].error) == ("exact", 0)
    assert (said[name].exactness, said[name].part, measured[name].part) == ("exact", True, False)
    assert (said["f32"].exactness, said["f32"].part) == ("exact", False)


def test_scales_that_round_are_found(tmp_path: Path) -> None:
    """float32 scales with all their bits: code * scale + bias is not scale * (code - zero) any more."""
    config = {"quant_method": "awq", "bits": 4, "group_size": 64, "zero_point": True, "version": "gemm"}
    packed, _ = write_both(build("llama"), tmp_path, lambda p, w: None if SKIPPED.search(p) else awq(64), config)
    tensors = load_file(packed / "model.safetensors")
    wide = {n: a.astype(np.float32) * np.float32(1 / 3) for n, a in tensors.items() if n.endswith(".scales")}
    save_file(tensors | wide, packed / "model.safetensors")
    with open_checkpoint(packed) as checkpoint:
        assert checkpoint.unsupported is None
        some, every = (read_truth(checkpoint, measured).formats for measured in (False, True))
        name = next(name for name in some if name.startswith("awq"))
        assert some[name].exactness == every[name].exactness == "rounded" and some[name].part and not every[name].part
        assert 0 < some[name].error <= every[name].error < 1e-5
        line = next(cells for cells in histogram(read_truth(checkpoint)) if cells[0] == name)
        assert line[-1].startswith("rounded, by up to ") and line[-1].endswith("in some rows (all: --measure)")


def test_facts_need_no_measuring(tmp_path: Path) -> None:
    variant = variants("auto_round.safetensors")["MXFP4"]
    with open_checkpoint(write(tmp_path, variant.parts, variant.config)) as checkpoint:
        truth = read_truth(checkpoint)
        assert truth.formats["mxfp4_packed"][3:] == ("mxfp4", "exact", 0.0, False)
        assert histogram(truth)[1][-2:] == ("MLX mxfp4", "exact")
        assert checkpoint[f"{NAME}.weight"].shape == variant.shape


def test_only_what_is_here_is_measured() -> None:
    from localq.cli.explain import _answer

    with pytest.raises(UsageError, match="not here"):
        _answer("acme/Tiny-AWQ", offline=True, measured=True)
