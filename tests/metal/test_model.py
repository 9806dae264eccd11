"""Whole tiny models of mixed ggml types: own kernels on the executor give the reference's logits, launch by launch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from localq.checkpoints import open_checkpoint
from localq.kernels import own, registry
from localq.models.loader import load_model
from tests.factories import build, ggml, mla, more, write_gguf
from tests.metal.blocks import set_scale
from tests.metal.harness import Harness

IDS = [1, 5, 9, 33, 77, 101, 7, 200, 11, 14, 15, 16]
CLOSE = 1e-5  # of the range of the logits: float32 sums in another order
MODELS = ("llama", "qwen3_moe", "llama3", "deepseek_v3")  # dense, experts, tied head, latent attention with experts
# Common types first; each model is dealt them in turn, beginning where the one before it stopped.
TYPES = (
    "q4_k", "q6_k", "q5_k", "iq4_xs", "q8_0", "q4_0", "q3_k", "q2_k", "iq2_xxs", "iq3_s", "q4_1", "q5_0", "q5_1",
    "iq4_nl", "iq3_xxs", "iq2_s", "iq2_xs", "iq1_s", "iq1_m", "tq1_0", "tq2_0", "mxfp4", "nvfp4", "q1_0", "q2_0",
)  # fmt: skip
assert set(TYPES) == set(ggml.PACKED)
Files = dict[str, tuple[Path, dict[str, str]]]


def logits(path: Path) -> dict[str, np.ndarray]:
    """Of a prefill, of three tokens and of one."""
    with open_checkpoint(path) as checkpoint:
        model = load_model(checkpoint)[0]
    return {str(n): np.array(model(mx.array([IDS[:n]]))[0]) for n in (len(IDS), 3, 1)}


def deal(first: int) -> tuple[Callable[[str, tuple[int, ...]], str], dict[str, str]]:
    """A function from names and shapes of tensors to types in turn, and what it has dealt."""
    dealt: dict[str, str] = {}
    left = list(TYPES[first:] + TYPES[:first])

    def kind(name: str, shape: tuple[int, ...]) -> str:
        fits = [t for t in left if len(shape) > 1 and shape[-1] % ggml.TYPES[t][1] == 0]
        if not fits or not name.endswith(".weight") or "norm" in name or "ffn_gate_inp" in name:
            return "f32"
        if name not in dealt:
            dealt[name] = fits[0]
            left.remove(fits[0])
            left.append(fits[0])
        return dealt[name]

    return kind, dealt


def packed(quantize: Callable[[np.ndarray, str], np.ndarray], w: np.ndarray, kind: str) -> np.ndarray:
    """ggml's packing, but random codes under small scales for types whose tables it takes half a minute to prepare."""
    if not kind.startswith(("iq1", "iq2")):
        return quantize(w, kind)
    _, block, size = ggml.TYPES[kind]
    blocks = np.random.default_rng(w.size).integers(0, 256, (w.size // block, size), np.uint8)
    set_scale(kind, blocks, 1e-3)
    return blocks.reshape(*w.shape[:-1], -1)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Each tiny model as a file of mixed types, and what they are: tensor -> type."""
    if not ggml.available():
        pytest.skip("needs llama-cpp-python (extra `llama`)")
    written = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ggml, "quantize", partial(packed, ggml.quantize))
        for number, arch in enumerate(MODELS):
            types, dealt = deal(7 * number)
            path = tmp_path_factory.mktemp(arch) / "m.gguf"
            if arch in mla.CASES:
                more.write(more.make(arch, mla.CASES[arch]), mla.CASES[arch], path, types)
            else:
                write_gguf(build(arch, num_hidden_layers=1), path, types)
            written[arch] = (path, dealt)
    return written


@pytest.fixture
def launched(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Names of the kernels a Mac would launch, counted; nothing is launched on one before `metal`."""
    counted: Counter[str] = Counter()
    real = harness.factory()

    def factory(**made):
        kernel = real(**made)

        def call(**how):
            counted[made["name"].removeprefix("localq_")] += 1
            return kernel(**how)

        return call

    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(own, "factory", lambda: factory)
    return counted


@pytest.mark.parametrize("arch", MODELS)
def test_logits_of_own_kernels(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, files: Files, arch: str
) -> None:
    path, dealt = files[arch]
    want = logits(path)
    assert not launched
    monkeypatch.setenv("LOCALQ_KERNELS", "own")  # of MXFP4 and NVFP4, too, which MLX's modes hold at their size
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(registry, "_agrees", lambda *what: "")  # the check at first use: test_selection
    got = logits(path)
    stems = {f"{kind}_ggml" if kind in ("mxfp4", "nvfp4") else kind for kind in dealt.values()}
    assert {stem for stem in stems if any(name.endswith(f"_{stem}") for name in launched)} == stems
    assert any(name.startswith("gather") for name in launched) == (arch in ("qwen3_moe", "deepseek_v3"))
    for tokens, right in want.items():
        assert np.abs(got[tokens] - right).max() <= CLOSE * np.ptp(right), tokens


def test_every_type_is_in_some_model(files: Files) -> None:
    assert {kind for _, dealt in files.values() for kind in dealt.values()} == set(TYPES)
