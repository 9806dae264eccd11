"""The harness must catch what it is for: each kernel with a planted fault is refused, its sound twin passes."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from localq_metal import source
from localq_metal.dequantize import dequantize
from tests.metal.blocks import every_kind, oracle, packed
from tests.metal.harness import CHECKED, FAST, FMA, Harness, KernelError

START = (
    "uint t = thread_index_in_threadgroup; uint i = thread_position_in_grid.x; uint lane = thread_index_in_simdgroup;\n"
)
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);"
TABLE = "constant float table[4] = {1.0f, 2.0f, 3.0f, 4.0f};\n"
SHARE = "threadgroup float s[64]; s[t] = x[i]; "
FAULTS = {  # name: (faulty, sound, what the report says)
    "no barrier": (f"{SHARE} o[i] = s[63 - t];", f"{SHARE} {BARRIER} o[i] = s[63 - t];", "uninitialised read"),
    "a barrier that fences nothing": (
        f"{SHARE} threadgroup_barrier(mem_flags::mem_none); o[i] = s[63 - t];",
        f"{SHARE} {BARRIER} o[i] = s[63 - t];",
        "race on threadgroup array",
    ),
    "a simdgroup trusted to be in step": (
        f"{SHARE} o[i] = s[t ^ 1];",
        f"{SHARE} simdgroup_barrier(mem_flags::mem_threadgroup); o[i] = s[t ^ 1];",
        "threadgroup array",
    ),
    "an index past a threadgroup array": (
        f"{SHARE} {BARRIER} o[i] = s[t + 1];",
        f"{SHARE} {BARRIER} o[i] = s[min(t + 1, 63u)];",
        "out-of-bounds threadgroup read",
    ),
    "an index past an input": ("o[i] = x[i + 1];", "o[i] = x[(i + 1) & 63];", "out-of-bounds read"),
    "an index past an output": ("o[i + 1] = x[i]; if (i == 0) o[0] = 0;", "o[i] = x[i];", "out-of-bounds write"),
    "an output left out": ("if (i > 2) o[i] = x[i];", "o[i] = x[i];", "never written"),
    "a write to an input": ("((device float*)x)[i] = 1; o[i] = x[i];", "o[i] = x[i];", "write to an input"),
    "a misaligned load": (
        "o[i] = as_type<float>(*(const device uint*)((const device uint8_t*)x + (i & 31) + 1));",
        "o[i] = as_type<float>(*(const device uint*)((const device uint8_t*)x + 4 * (i & 31)));",
        "misaligned 4-byte read",
    ),
    "simd_sum under a branch": (
        "float v = x[i]; if (lane < 16) v = simd_sum(v); o[i] = v;",
        "float v = x[i]; float s = simd_sum(lane < 16 ? v : 0.0f); o[i] = lane < 16 ? s : v;",
        "others have returned",
    ),
    "a return before a barrier": (
        f"{SHARE} if (t > 60) {{ o[i] = 0; return; }} {BARRIER} o[i] = s[0];",
        f"{SHARE} {BARRIER} o[i] = s[0];",
        "not reached by all threads",
    ),
    "40 KB of threadgroup memory": (
        f"threadgroup float s[10240]; s[t] = x[i]; {BARRIER} o[i] = s[t];",
        f"threadgroup float s[1024]; s[t] = x[i]; {BARRIER} o[i] = s[t];",
        "exceeds the 32768-byte limit",
    ),
    "a float that becomes a bfloat": (
        "bfloat b = x[i] * 2.0f; o[i] = float(b);",
        "bfloat b = bfloat(x[i] * 2.0f); o[i] = float(b);",
        "g\\+\\+ refuses",
    ),
    "a value read, then overwritten": (
        f"{SHARE} {BARRIER} float v = s[63 - t]; s[t] = 2 * v; {BARRIER} o[i] = s[t];",
        f"{SHARE} {BARRIER} float v = s[63 - t]; {BARRIER} s[t] = 2 * v; {BARRIER} o[i] = s[t];",
        "race on threadgroup array",
    ),
    "an index into the array beside": (
        f"threadgroup float s[64], r[64]; s[t] = x[i]; r[t] = x[i]; {BARRIER} o[i] = s[t + 60];",
        f"threadgroup float s[64], r[64]; s[t] = x[i]; r[t] = x[i]; {BARRIER} o[i] = t < 4 ? s[t + 60] : r[t - 4];",
        "out-of-bounds threadgroup read",
    ),
    "a threadgroup array not filled": (
        f"threadgroup float s[64]; if (t < 63) s[t] = x[i]; {BARRIER} o[i] = s[t];",
        f"{SHARE} {BARRIER} o[i] = s[t];",
        "uninitialised read of threadgroup",
    ),
    "simd_sum more often in some lanes": (
        "float v = x[i]; for (uint k = 0; k <= lane / 16; k++) v = simd_sum(v);\n v = simd_max(v); o[i] = v;",
        "float v = x[i]; for (uint k = 0; k < 2; k++) v = simd_sum(v);\n v = simd_max(v); o[i] = v;",
        "different simdgroup call",
    ),
    "two threadgroups that write one element": (
        "o[i & 31] = x[i]; o[(i & 31) + 32] = 1;",
        "o[i] = x[i];",
        "two threadgroups touch output byte",
    ),
    "bits past the width of a type": (
        "o[i] = float(extract_bits(as_type<uint>(x[i]), 24u, 12u));",
        "o[i] = float(extract_bits(as_type<uint>(x[i]), 20u, 12u));",
        "extract_bits",
    ),
    "a write to a constant table": (
        "((thread float*)table)[t & 3] = 1.0f; o[i] = x[i] + table[0];",
        "o[i] = x[i] + table[0];",
        ".",
    ),
    "min(uint, int)": ("o[i] = float(min(t, 3));", "o[i] = float(min(t, 3u));", "g\\+\\+ refuses"),
}


def run(harness: Harness, body: str, mode=CHECKED) -> np.ndarray:
    kernel = harness.factory(mode)(
        name="fault", input_names=["x"], output_names=["o"], source=START + body, header=TABLE
    )
    x = mx.arange(64).astype(mx.float32)
    threads = 32 if "o[i & 31]" in body else 64
    shape = {
        "grid": (64, 1, 1),
        "threadgroup": (threads, 1, 1),
        "output_shapes": [(64,)],
        "output_dtypes": [mx.float32],
    }
    return np.array(kernel(inputs=[x], **shape)[0])


@pytest.mark.parametrize("name", FAULTS)
def test_fault(harness: Harness, name: str) -> None:
    faulty, sound, says = FAULTS[name]
    run(harness, sound)
    with pytest.raises(KernelError, match=says):
        run(harness, faulty)


def test_simdgroup_functions_are_those_of_metal(harness: Harness) -> None:
    """In all orders: numbers small enough to be summed exactly."""
    v, lane = np.arange(64, dtype=np.float32).reshape(2, 32), np.arange(32)
    wanted = {
        "simd_sum(v)": np.broadcast_to(v.sum(1, keepdims=True), v.shape),
        "simd_max(v)": np.broadcast_to(v.max(1, keepdims=True), v.shape),
        "simd_shuffle_xor(v, 5)": v[:, lane ^ 5],
        "simd_broadcast(v, 7)": v[:, [7] * 32],
        "simd_shuffle_down(v, 3)": np.where(lane + 3 < 32, v[:, (lane + 3) % 32], v),
    }
    for mode in (FAST, FMA):
        for call, want in wanted.items():
            assert np.array_equal(run(harness, f"float v = x[i]; o[i] = {call};", mode).reshape(2, 32), want), call


# One word of a decoder changed; what decodes otherwise must not pass.
MUTANTS = [
    ("q2_k", "packed >> 4)", "packed >> 3)"),
    ("q3_k", "(high << 2)", "(high << 1)"),
    ("q4_k", "* float(scale)", "* float(scale + 1)"),
    ("q4_k", "group < 4", "group < 5"),
    ("q4_k", "block + 16 + 32", "block + 12 + 32"),
    ("q5_k", "<< 4);\n      for", "<< 3);\n      for"),
    ("q6_k", "(block + 192)", "(block + 191)"),
    ("q6_k", "- 32);\n      out[2 * i + 1]", "- 31);\n      out[2 * i + 1]"),
    ("iq4_xs", "113.0f};", "112.0f};"),
    ("iq4_xs", "(2 * group)) & 3", "(2 * group)) & 1"),
    ("q6_k", "BYTES = 210", "BYTES = 212"),
]


@pytest.mark.parametrize("stem, word, other", MUTANTS)
def test_a_wrong_decoder_is_seen(harness: Harness, stem: str, word: str, other: str) -> None:
    text = source.decoder(stem)
    assert text.count(word) >= 1
    t = every_kind(stem, 512)
    real = harness.factory(CHECKED)
    try:
        got = dequantize(lambda **made: real(**{**made, "header": text.replace(word, other)}), packed(t), mx.float32)
    except KernelError as error:
        assert "out-of-bounds read" in str(error)
    else:
        assert not np.array_equal(np.array(got), oracle(t), equal_nan=True)
