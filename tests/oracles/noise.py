"""How far llama.cpp's own logits stray from exact ones because it rounds activations: bounds per type.

llama.cpp multiplies packed weights with activations rounded to int8 in blocks (vec_dot_type in ggml-cpu.c): q8_0,
blocks of 32, for types of 32 to 128 weights; q8_K, blocks of 256, for k-quants, IQ and ternary types; f16 and bf16
weights with f16 and bf16 activations. localq keeps activations in float32, so on the same file the two differ by
that rounding, whatever the weights are.

What to expect. A block of n normal values has a largest value of 2.3 (n = 32) or 3.0 (n = 256) deviations; rounding to
steps of max / 127 leaves an error of max / 127 / sqrt(12) = 0.5 % or 0.7 % of a deviation on every activation, and the
same relative error on every product. Two layers of four rounded stages and the head add nine such errors: 1.6 % or
2.0 % of the logits' deviation, which is 1/7 to 1/8 of their range: 0.2 % or 0.3 % of the range, times what sharp random
attention adds. The largest of 7,680 such errors is about four times the deviation, more where attention amplifies it.

Measured: llama.cpp on the packed file against llama.cpp on a float32 file of the same decoded values
(`write_gguf_pair`), the tiny llama, seeds 0 to 3, AVX-512 build, as share of the logits' range; the largest
of the four.
The bound is twice the measurement: other instruction sets sum in another order, and a bound that noise can pass is
none. What it cannot see the exact comparison does.
"""

from __future__ import annotations

# type -> (mean, largest) difference measured, as share of the logits' range
MEASURED: dict[str, tuple[float, float]] = {
    "f16": (1.1e-4, 8.6e-4),
    "bf16": (8.7e-4, 5.9e-3),
    "q4_0": (2.8e-3, 2.5e-2),
    "q4_1": (3.0e-3, 2.7e-2),
    "q5_0": (3.1e-3, 4.2e-2),
    "q5_1": (2.9e-3, 2.2e-2),
    "q8_0": (2.9e-3, 2.6e-2),
    "iq4_nl": (3.0e-3, 2.3e-2),
    "mxfp4": (3.0e-3, 2.5e-2),
    "nvfp4": (3.0e-3, 2.8e-2),
    "q1_0": (1.7e-3, 1.3e-2),
    "q2_0": (2.7e-3, 2.6e-2),
    "q2_k": (3.9e-3, 3.4e-2),
    "q3_k": (3.7e-3, 2.7e-2),
    "q4_k": (4.6e-3, 3.5e-2),
    "q5_k": (4.3e-3, 4.1e-2),
    "q6_k": (4.3e-3, 3.4e-2),
    "iq1_s": (3.6e-3, 3.0e-2),
    "iq1_m": (4.5e-3, 4.8e-2),
    "iq2_xxs": (4.3e-3, 3.3e-2),
    "iq2_xs": (4.3e-3, 3.2e-2),
    "iq2_s": (4.4e-3, 2.7e-2),
    "iq3_xxs": (4.0e-3, 3.6e-2),
    "iq3_s": (4.1e-3, 3.7e-2),
    "iq4_xs": (4.4e-3, 3.8e-2),
    "tq1_0": (3.1e-3, 2.7e-2),
    "tq2_0": (3.1e-3, 2.7e-2),
}
MARGIN = 2.0

# Mixtures: the mean measured was at most 5.8e-3 (gpt_oss). The largest difference says nothing where a router chose
# another expert because of the rounding (0.19 of the range at one position of qwen3_moe), so nine positions of ten
# count: at most 4.1e-2 measured (phi4).
MIXTURE_MEAN = 1.2e-2
MIXTURE_NINE_OF_TEN = 8.2e-2
