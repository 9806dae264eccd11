"""awq_llm_4bit_g<group>: llm-awq's own layers, also gptqmodel's format "llm-awq".

The bytes of `awq_gemv_fast`; the array of -scale * zero is `scaled_zeros`. Sources: llm-awq awq/quantize/qmodule.py;
gptqmodel nn_modules/qlinear/gemv_fast_awq.py (`LLMAwqLinear`).
"""

from __future__ import annotations

from localq.formats.awq_gemv_fast import AWQGemvFast


class AWQLlm(
    AWQGemvFast,
    name="awq_llm",
    checked="gptqmodel",
    suffixes=("qweight", "scaled_zeros", "scales"),
    products="scaled_zeros",
):
    """See above."""
