"""`localq doctor --kernels` on a Mac, played on a CPU: it says ok of right kernels, and what is wrong of others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import mlx.core as mx
import pytest

from localq.cli.doctor import _verdicts
from localq.formats import FORMATS, find
from localq.kernels import checks, golden, own, registry
from localq.kernels.checks import KernelCheck, check_all, check_layers, check_stored
from tests.metal.blocks import oracle
from tests.metal.harness import Harness

Change = Callable[[dict[str, Any]], dict[str, Any]]
Q6_K = FORMATS["q6_k"]


@pytest.fixture
def mac(monkeypatch: pytest.MonkeyPatch, harness: Harness) -> Callable[..., None]:
    """Makes this machine a Mac whose kernels are `change`d before they are built."""
    monkeypatch.delenv("LOCALQ_KERNELS", raising=False)
    monkeypatch.setattr(registry, "_VERDICTS", {})
    monkeypatch.setattr(registry, "device", lambda: "metal")
    monkeypatch.setattr(checks, "TOKENS", (1, 5))

    def play(change: Change = lambda made: made) -> None:
        right = harness.factory()

        def changed(**made: Any) -> Any:
            return right(**change(made))

        monkeypatch.setattr(own, "factory", lambda: changed)

    return play


def rows(dtype: mx.Dtype = mx.float32) -> dict[str, KernelCheck]:
    return {check.op: check for check in check_all([Q6_K], [dtype])}


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16], ids=str)
def test_right_kernels_are_ok(mac: Callable[..., None], dtype: mx.Dtype) -> None:
    mac()
    found = rows(dtype)
    assert set(found) == {*registry.OPS, "dequantize", "norm and swiglu", "residual", "norm and rotation", "experts"}
    assert all(check.ok and check.implementation == "own" and check.worst < 0.1 for check in found.values())
    assert found["dequantize"].error < (1e-9 if dtype == mx.float32 else 1e-2)
    assert found["matmul"].dtype == str(dtype).rpartition(".")[2]


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16], ids=str)
@pytest.mark.parametrize("name", ["q4_k", "iq2_xxs", "fp8_e4m3_channel", "bnb_nf4_g64", "gptq_3bit_g64", None])
def test_launches_of_fused_layers_are_ok(mac: Callable[..., None], name: str | None, dtype: mx.Dtype) -> None:
    mac()
    found = list(check_layers(find(name) if name else None, dtype))
    assert len(found) == (4 if name else 3)
    assert all(check.ok and 0 <= check.error < check.limit / 2 for check in found), found


def test_a_wrong_fused_launch_is_told(mac: Callable[..., None]) -> None:
    mac(lambda made: {**made, "source": made["source"].replace("1.0f + exp", "2.0f + exp")})
    found = {check.op: check for check in check_layers(Q6_K, mx.float32)}
    assert [op for op, check in found.items() if not check.ok] == ["norm and swiglu", "experts"]


def told(found: dict[str, KernelCheck]) -> list[str]:
    as_printed = [{**vars(check), "ok": check.ok} for check in found.values()]
    return [finding.words for finding in _verdicts(as_printed) if finding.state == "problem"]


def test_a_kernel_that_miscomputes(mac: Callable[..., None]) -> None:
    mac(lambda made: {**made, "header": made["header"].replace("- 32", "- 31")})
    found = rows()
    assert found["matmul"].implementation != "own" and not found["matmul"].ok
    assert "disagrees with the reference" in found["matmul"].note
    assert not found["dequantize"].ok and found["dequantize"].error > 0.01
    assert any("wrong results for q6_k" in words for words in told(found))


def test_a_kernel_that_does_not_compile(mac: Callable[..., None]) -> None:
    mac(lambda made: {**made, "source": made["source"].replace("f.decode16", "f.decode17").replace("f.dot", "f.dort")})
    found = rows()
    assert "does not run" in found["matmul"].note and not found["matmul"].ok
    assert found["matmul"].error <= found["matmul"].limit  # what takes over is right
    assert any("g++ refuses" in words for words in told(found))


def test_a_threadgroup_that_is_refused(mac: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """As MLX says it on a Mac, when the result is evaluated."""

    def refusing(**made: Any) -> Any:
        def launch(**how: Any) -> Any:
            raise ValueError("Thread group size (64) is greater than the maximum allowed threads per threadgroup (32).")

        return launch

    monkeypatch.setattr(own, "factory", lambda: refusing)
    found = rows()
    assert "maximum allowed threads" in found["gather"].note and found["gather"].error <= found["gather"].limit
    assert found["dequantize"].error == float("inf") and not found["dequantize"].ok


def test_stored_cases_are_what_others_decode() -> None:
    """Of ggml's types what gguf-py makes of them now; every format with a kernel has a case, and each is right."""
    kinds = list(golden.examples())
    assert {fmt.name for fmt in kinds} == set(golden.cases())
    for fmt in kinds:
        t = golden.tensor(fmt)
        assert golden.stored(t) == golden.cases()[fmt.name][0], "numpy draws other numbers: run tools/golden.py"
        if fmt.family == "ggml":
            assert golden.hashed(oracle(t)) == golden.cases()[fmt.name][1]
    assert all(check.ok for check in check_stored())


def test_other_packages_cover_every_format_with_a_kernel() -> None:
    """By family; TQ is localq's own."""
    asked = {fmt for fmt in FORMATS.values() if fmt.kernel and fmt.family != "ggml"}
    covered = {fmt for fmt in asked if any(issubclass(p.tensor.format, fmt) for p in golden.peers())}
    assert {fmt.name for fmt in asked - covered} <= {"tq2", "tq3", "tq4"}
    assert len({p.package for p in golden.peers()}) > 10


def test_kernels_decode_what_other_packages_wrote(mac: Callable[..., None]) -> None:
    mac()
    found = [check for check in check_stored() if check.implementation == "own"]
    assert len(found) == len(golden.peers()) and all(check.ok for check in found), [c for c in found if not c.ok]


def test_a_package_that_decodes_otherwise_is_seen() -> None:
    for peer in (golden.peers()[0], golden.peers()[-1]):
        weights = peer.tensor.dequantize()
        assert peer.right(weights)
        weights[1, 5] *= 1.001
        assert not peer.right(weights)


def test_a_reference_that_miscomputes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    (right,) = check_stored([Q6_K])
    monkeypatch.setattr(golden, "hashed", lambda weights: "0" * 16)
    (wrong,) = check_stored([Q6_K])
    assert right.ok and not wrong.ok and wrong.op == "golden"


def test_cases_from_other_numbers_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(golden, "stored", lambda t: "another draw")
    assert list(check_stored([Q6_K])) == []


def test_a_machine_without_a_gpu_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "device", lambda: "cpu")
    (finding,) = _verdicts([])
    assert finding.state == "note" and "own kernels did not run" in finding.words
    assert json.dumps(finding._asdict())
