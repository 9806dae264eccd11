"""Whole tiny models whose projections share launches, then whose layers are fused: the logits of the reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models.cache import make_prompt_cache
from mlx_lm.tuner.lora import LoRALinear

from localq.checkpoints import open_checkpoint
from localq.kernels import own, registry
from localq.models import fused
from localq.models.loader import load_model
from localq.models.shared import share
from tests.factories import build, ggml, write_gguf
from tests.metal.harness import Harness

IDS = [1, 5, 9, 33, 77, 101, 14]
LAYERS = {"gemma3": 6}  # else one
GROUPS = {"llama": 2, "llama3": 2, "qwen3": 2, "qwen3_moe": 1, "gemma3": 12}  # q/k/v; gate/up, where no experts are
CLOSE = 1e-5  # of the range of the logits: float32 sums in another order

pytestmark = pytest.mark.skipif(not ggml.available(), reason="needs llama-cpp-python (extra `llama`)")


def load(path: Path) -> Any:
    with open_checkpoint(path) as checkpoint:
        model = load_model(checkpoint)[0]
    model.eval()
    return model


def decoded(model: Any) -> np.ndarray:
    """Logits of a prompt of three tokens, then of one at a time, then of two at once."""
    cache = make_prompt_cache(model)
    pieces = [IDS[:3], *([token] for token in IDS[3:5]), IDS[5:]]
    return np.concatenate([np.array(model(mx.array([ids]), cache=cache)[0]) for ids in pieces])


@pytest.fixture
def launched(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """On a Mac, played on the executor: kernels launched, counted."""
    counted: Counter[str] = Counter()
    real = harness.factory()

    def factory(**made: Any) -> Callable[..., Any]:
        kernel = real(**made)

        def call(**how: Any) -> Any:
            counted[made["name"]] += 1
            return kernel(**how)

        return call

    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(fused, "_VERDICTS", {})
    monkeypatch.setattr(own, "factory", lambda: factory)
    return counted


def metal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(registry, "activation_dtype", lambda stored: mx.float32)
    monkeypatch.setattr(registry, "_agrees", lambda *what: "")


def mixed(name: str, shape: tuple[int, ...]) -> str:
    """As Q4_K_M has it: values and down in more bits than their neighbours; a gate that is not packed as its up."""
    if len(shape) == 1:
        return "f32"
    more = "attn_v" in name or "ffn_down" in name
    return "q6_k" if more else "q5_k" if "blk.1.ffn_gate" in name else "q4_k"


@pytest.mark.parametrize("arch", GROUPS)
def test_logits_of_shared_launches_and_of_fused_layers(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arch: str
) -> None:
    path = write_gguf(build(arch, num_hidden_layers=LAYERS.get(arch, 1)), tmp_path / "m.gguf", "q8_0")
    want = decoded(load(path))
    metal(monkeypatch)
    model = load(path)
    assert share(model) == GROUPS[arch]
    assert np.abs(decoded(model) - want).max() <= CLOSE * np.ptp(want)
    assert fused.fuse(model) == LAYERS.get(arch, 1)
    launched.clear()
    assert np.abs(decoded(model) - want).max() <= CLOSE * np.ptp(want)
    pairs = [type(c).__name__ for c in make_prompt_cache(model)].count("PairedKVCache")
    assert pairs == 1  # of Gemma's the last, the others have rotating ones
    names = " ".join(launched)
    assert "fused_norm" in names and ("vector" in names) and ("few" in names)
    assert ("turned" in names) == (arch in ("qwen3", "qwen3_moe", "gemma3")) and not fused.fuse(model)


def test_biases_of_queries_keys_and_values(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_gguf(build("qwen2", num_hidden_layers=1), tmp_path / "m.gguf", "q8_0")
    want, bare = decoded(load(path)), load(path)
    for name in ("q_proj", "k_proj", "v_proj"):
        bare.layers[0].self_attn[name].bias *= 0
    assert np.abs(decoded(bare) - want).max() > 100 * CLOSE * np.ptp(want)
    metal(monkeypatch)
    model = load(path)
    assert fused.fuse(model) == 1
    (layer,) = model.layers
    assert layer.step.heads and layer.step.heads.joined and layer.step.glu and layer.step.down
    assert np.abs(decoded(model) - want).max() <= CLOSE * np.ptp(want)
    assert [n for n in launched if "turned" in n]
    layer.self_attn.v_proj.bias = 2 * layer.self_attn.v_proj.bias
    assert not layer.step.intact(layer)


def test_the_feed_forward_alone_where_not_all_of_them_have_a_bias(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_gguf(build("qwen2", num_hidden_layers=1), tmp_path / "m.gguf", "q8_0")
    model = load(path)
    del model.layers[0].self_attn.k_proj["bias"]
    want = decoded(model)
    metal(monkeypatch)
    model = load(path)
    del model.layers[0].self_attn.k_proj["bias"]
    share(model)
    assert fused.fuse(model) == 1
    (layer,) = model.layers
    assert layer.step.heads is None and layer.step.glu and layer.step.down
    assert np.abs(decoded(model) - want).max() <= CLOSE * np.ptp(want)
    assert [n for n in launched if "norm_glu" in n] and not [n for n in launched if "turn" in n]


def test_formats_that_differ_are_fused_apart(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_gguf(build("llama", num_hidden_layers=2), tmp_path / "m.gguf", mixed)
    want = decoded(load(path))
    metal(monkeypatch)
    model = load(path)
    assert fused.fuse(model) == 2
    first, second = (layer.step for layer in model.layers)
    assert [len(each) for each in first.heads.groups] == [2, 1] and first.glu and second.glu is None
    assert np.abs(decoded(model) - want).max() <= CLOSE * np.ptp(want)


def test_mlx_lms_layer_where_fused_ones_do_not_serve(
    launched: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = write_gguf(build("llama", num_hidden_layers=2), tmp_path / "m.gguf", "q8_0")
    assert fused.fuse(load(path)) == 0  # on a CPU
    metal(monkeypatch)
    monkeypatch.setenv("LOCALQ_KERNELS", "reference")
    assert fused.fuse(load(path)) == 0
    monkeypatch.delenv("LOCALQ_KERNELS")
    model, right = load(path), own.factory()

    def wrong(**made: Any) -> Any:
        return right(**{**made, "source": made["source"].replace("1.0f + exp", "2.0f + exp")})

    monkeypatch.setattr(own, "factory", lambda: wrong)
    with pytest.warns(RuntimeWarning, match="fused kernels for q8_0 on metal disagree") as warned:
        assert fused.fuse(model) == 0
    assert len(warned) == 1
    monkeypatch.setattr(own, "factory", lambda: right)
    monkeypatch.setattr(fused, "_VERDICTS", {})
    assert fused.fuse(model) == 2

    def fused_launches(length: int = 1) -> int:
        launched.clear()
        mx.eval(model(mx.array([list(range(1, length + 1))])))
        return sum(count for name, count in launched.items() if "fused" in name)

    each = fused_launches() // 2
    assert each > 0 and fused_launches(29) == 0  # a prompt
    model.train()
    assert fused_launches() == 0
    model.eval()
    first, second = model.layers
    adapted = LoRALinear(256, 256)
    adapted.linear, second.self_attn.o_proj = second.self_attn.o_proj, adapted
    assert fused_launches() == each
    second.self_attn.o_proj = adapted.linear
    assert fused_launches() == 2 * each
    first.input_layernorm.weight = 2 * first.input_layernorm.weight
    assert fused_launches() == each
