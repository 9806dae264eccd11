"""Facts that follow from the registry or from measured tables: generated, so that they cannot drift from the code.

Bits and blocks come from `localq.formats.ggml_types`. RECIPE_BPW are whole-model bits per weight for the shape of
Llama 3.1 8B, from `llama_model_quantize(dry_run)`; KLD are llama.cpp's tools/perplexity/README figures (Llama 3 8B).
"""

from __future__ import annotations

from collections.abc import Iterator

from localq.formats.ggml_types import GGML_TYPES, GGMLType

FLOATS = {"f32": 32, "f16": 16, "bf16": 16}
INTEGERS = ("i8", "i16", "i32", "i64", "f64")
RECIPE_BPW = {
    "Q2_K_S": 2.97,
    "Q3_K_S": 3.64,
    "Q3_K_M": 4.00,
    "Q3_K_L": 4.30,
    "Q4_K_S": 4.67,
    "Q4_K_M": 4.89,
    "Q5_K_S": 5.57,
    "Q5_K_M": 5.70,
    "IQ2_M": 2.93,
    "IQ3_XS": 3.50,
    "IQ3_M": 3.76,
}
SIZE_BPW = {"Q4_K_M": 4.89, "Q5_K_M": 5.70, "Q6_K": 6.56, "Q8_0": 8.50, "BF16": 16.0}
SIZES = (1, 3, 4, 7, 8, 14, 27, 32, 70)
KLD = {
    "Q8_0": "0.0014",
    "Q6_K": "0.0055",
    "Q5_K_M": "0.0108",
    "Q4_K_M": "0.0313",
    "IQ4_XS": "0.0363",
    "Q4_K_S": "0.0431",
    "Q4_0": "0.0719",
    "Q3_K_M": "0.102",
    "IQ3_M": "0.103",
    "IQ3_XXS": "0.184",
    "IQ2_M": "0.326",
    "Q2_K": "0.445",
    "IQ2_XS": "0.546",
    "IQ2_XXS": "0.81",
    "IQ1_M": "1.39",
}
WITH_IMATRIX = {"IQ4_XS", "IQ3_M", "IQ3_XXS", "IQ2_M", "IQ2_XS", "IQ2_XXS", "IQ1_M"}
AFFINE_BITS = (2, 3, 4, 5, 6, 8)

Row = tuple[str, str, list[str], str, list[str]]  # fact id, answer, key facts, question kind, subjects


def rows() -> Iterator[Row]:
    """Every generated fact."""
    for kind in GGML_TYPES.values():
        if kind.name not in INTEGERS:
            yield from _type_facts(kind)
    for name, bpw in RECIPE_BPW.items():
        yield (
            f"recipe/bits/{name}",
            f"A whole {name} file has about {bpw:.2f} bits per weight, for a model like Llama 3.1 8B.",
            [name, f"{bpw:.2f}"],
            "bits",
            [name],
        )
    for name, kld in KLD.items():
        how = " made with an imatrix" if name in WITH_IMATRIX else ""
        text = f"On Llama 3 8B, {name}{how} has a KL divergence of {kld} from the original."
        yield f"kld/{name}", text, [name, kld], "kld", [name]
    for bits in AFFINE_BITS:
        yield _affine_fact(bits)
    for size in SIZES:
        for name, bpw in SIZE_BPW.items():
            yield _size_fact(size, name, bpw)


def shown(kind: GGMLType) -> str:
    """The name of a type as people write it."""
    return kind.name.removesuffix("_ggml").upper()


def _type_facts(kind: GGMLType) -> Iterator[Row]:
    name, bpw = shown(kind), f"{8 * kind.bytes / kind.block:g}"
    if kind.name in FLOATS:
        yield (
            f"type/bits/{name}",
            f"{name} uses {bpw} bits for every weight and has no blocks.",
            [f"{name} uses {bpw}"],
            "bits",
            [name],
        )
        return
    per = f"{kind.bytes} bytes for {kind.block} weights"
    text = f"{name} uses {bpw} bits per weight, scales included: {per}."
    yield f"type/bits/{name}", text, [name, f"{bpw} bits", str(kind.bytes)], "bits", [name]
    text = f"A block of {name} holds {kind.block} weights in {kind.bytes} bytes."
    yield f"type/block/{name}", text, [name, f"{kind.block} weights", f"{kind.bytes} bytes"], "block", [name]


def _affine_fact(bits: int) -> Row:
    bpw = f"{bits + 32 / 64:g}"
    text = f"MLX {bits}-bit with groups of 64 has {bpw} bits per weight, with its 16-bit scale and bias per group."
    return f"mlx/bits/{bits}", text, [f"{bits}-bit", bpw], "bits", [f"MLX {bits}-bit"]


def _size_fact(size: int, name: str, bpw: float) -> Row:
    gigabytes = f"{size * bpw / 8:.1f}"
    article = "an" if size == 8 else "a"
    text = (
        f"{article.capitalize()} {size}B model in {name} takes about {gigabytes} GB for its weights, plus the KV cache."
    )
    return f"size/{size}B/{name}", text, [f"{size}B", name, gigabytes], "size", [article, f"{size}B", name]
