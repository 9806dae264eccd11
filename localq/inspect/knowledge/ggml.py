"""GGUF: ggml's block types, and llama-quantize's recipes, which give different tensors different types.

Sources: block layouts from ggml/src/ggml-common.h; mixtures from src/llama-quant.cpp; bits of whole models counted by
llama-quantize (dry run) on the shape of Llama-3.1-8B; losses from llama.cpp's tools/perplexity/README.md.
"""

from __future__ import annotations

from localq.inspect.knowledge.base import Card, Figure, Packing, Part

_F16 = "scale in fp16"


def _packing(name: str, block: int, group: int, symmetric: bool, *parts: Part) -> Packing:
    return Packing(name, block, group, symmetric, parts)


PACKINGS = {
    p.name: p
    for p in (
        _packing("q1_0", 128, 128, True, (128, 1, "signs"), (1, 16, _F16)),
        _packing("q2_0", 64, 64, True, (64, 2, "codes"), (1, 16, _F16)),
        _packing("q4_0", 32, 32, True, (32, 4, "codes"), (1, 16, _F16)),
        _packing("q4_1", 32, 32, False, (32, 4, "codes"), (1, 16, _F16), (1, 16, "minimum in fp16")),
        _packing("q5_0", 32, 32, True, (32, 5, "codes"), (1, 16, _F16)),
        _packing("q5_1", 32, 32, False, (32, 5, "codes"), (1, 16, _F16), (1, 16, "minimum in fp16")),
        _packing("q8_0", 32, 32, True, (32, 8, "codes"), (1, 16, _F16)),
        _packing("q2_k", 256, 16, False, (256, 2, "codes"), (16, 8, "scale and minimum"), (2, 16, "fp16 for those")),
        _packing("q3_k", 256, 16, True, (256, 3, "codes"), (16, 6, "scales"), (1, 16, "scale of the scales")),
        _packing("q4_k", 256, 32, False, (256, 4, "codes"), (8, 12, "scale and minimum"), (2, 16, "fp16 for those")),
        _packing("q5_k", 256, 32, False, (256, 5, "codes"), (8, 12, "scale and minimum"), (2, 16, "fp16 for those")),
        _packing("q6_k", 256, 16, True, (256, 6, "codes"), (16, 8, "scales"), (1, 16, "scale of the scales")),
        _packing("iq4_nl", 32, 32, True, (32, 4, "places in a table of 16 levels"), (1, 16, _F16)),
        _packing("iq4_xs", 256, 32, True, (256, 4, "places in a table of 16 levels"), (8, 6, "scales"),
                 (1, 16, "scale of the scales")),
        _packing("iq3_xxs", 256, 32, True, (64, 8, "codebook entries of 4 weights"), (8, 32, "signs and scale"),
                 (1, 16, "scale of the scales")),
        _packing("iq3_s", 256, 32, True, (64, 9, "codebook entries of 4 weights"), (256, 1, "signs"),
                 (8, 4, "scales"), (1, 16, "scale of the scales")),
        _packing("iq2_xxs", 256, 32, True, (32, 8, "codebook entries of 8 weights"), (32, 7, "signs"),
                 (8, 4, "scales"), (1, 16, "scale of the scales")),
        _packing("iq2_xs", 256, 16, True, (32, 9, "codebook entries of 8 weights"), (32, 7, "signs"),
                 (16, 4, "scales"), (1, 16, "scale of the scales")),
        _packing("iq2_s", 256, 16, True, (32, 10, "codebook entries of 8 weights"), (256, 1, "signs"),
                 (16, 4, "scales"), (1, 16, "scale of the scales")),
        _packing("iq1_s", 256, 32, False, (32, 11, "codebook entries of 8 weights"), (8, 4, "scale and shift"),
                 (1, 16, "scale of the scales")),
        _packing("iq1_m", 256, 16, False, (32, 11, "codebook entries of 8 weights"), (32, 1, "shifts"),
                 (16, 3, "scales"), (1, 16, "scale of the scales")),
        _packing("tq1_0", 256, 256, True, (52, 8, "bytes of five ternary digits"), (1, 16, _F16)),
        _packing("tq2_0", 256, 256, True, (256, 2, "ternary codes"), (1, 16, _F16)),
        _packing("mxfp4_ggml", 32, 32, True, (32, 4, "floats (E2M1)"), (1, 8, "power of two (E8M0)")),
        _packing("nvfp4_ggml", 64, 16, True, (64, 4, "floats (E2M1)"), (4, 8, "scales (UE4M3)")),
    )
}  # fmt: skip

_KINDS = {
    "legacy": "a block of 32 weights with one scale: the oldest and simplest kind of llama.cpp",
    "k": "a k-quant: blocks of 256 weights in groups of 16 or 32, whose scales are themselves quantised",
    "i": "an i-quant: codes are places in a fixed table of good values, which saves bits and costs speed on CPUs",
    "ternary": "three values (-1, 0, 1) and a scale, for models trained that way",
    "mx": "4-bit floats with a shared power of two, as gpt-oss was published",
    "": "a GGUF recipe",
}

# Recipe -> (main type, which tensors differ, bits per weight of Llama-3.1-8B, increase of perplexity, KL divergence).
_EMB = "output head Q6_K"
RECIPES: dict[str, tuple[str, str, float | None, float | None, float | None]] = {
    "Q4_0": ("q4_0", _EMB, 4.64, 0.469, 0.0719),
    "Q4_1": ("q4_1", _EMB, 5.10, None, None),
    "Q5_0": ("q5_0", _EMB, 5.57, None, None),
    "Q5_1": ("q5_1", _EMB, 6.04, None, None),
    "Q8_0": ("q8_0", "all matrices alike", 8.50, 0.003, 0.0014),
    "Q2_K": ("q2_k", f"attention values Q4_K, attention output and ffn_down Q3_K, {_EMB}", 3.16, 2.42, 0.332),
    "Q2_K_S": ("q2_k", f"attention values and the first eighth of ffn_down Q4_K, {_EMB}", 2.97, None, None),
    "Q3_K_S": ("q3_k", _EMB, 3.64, None, None),
    "Q3_K_M": ("q3_k", f"attention values, attention output and ffn_down Q4_K or Q5_K, {_EMB}", 4.00, 0.503, 0.084),
    "Q3_K_L": ("q3_k", f"attention values, attention output and ffn_down Q5_K, {_EMB}", 4.30, None, None),
    "Q4_K_S": ("q4_k", f"attention values and ffn_down of the first layers Q5_K, {_EMB}", 4.67, 0.178, 0.0320),
    "Q4_K_M": ("q4_k", f"half of attention values and of ffn_down Q6_K, {_EMB}", 4.89, 0.175, 0.0313),
    "Q5_K_S": ("q5_k", _EMB, 5.57, None, None),
    "Q5_K_M": ("q5_k", f"half of attention values and of ffn_down Q6_K, {_EMB}", 5.70, 0.057, 0.0108),
    "Q6_K": ("q6_k", "all matrices alike", 6.56, 0.022, 0.0055),
    "IQ1_S": ("iq1_s", "attention values Q4_K, attention output IQ2_XXS, embeddings Q2_K, output head Q5_K", 2.00,
              None, None),
    "IQ1_M": ("iq1_m", "attention values Q4_K, attention output IQ2_XXS, embeddings Q2_K, output head Q5_K", 2.15,
              None, 1.39),
    "IQ2_XXS": ("iq2_xxs", "attention values Q4_K, embeddings Q2_K, output head Q5_K", 2.38, 7.86, 0.812),
    "IQ2_XS": ("iq2_xs", "attention values Q4_K, embeddings Q2_K, output head Q5_K", 2.59, None, 0.546),
    "IQ2_S": ("iq2_xs", "attention IQ3_S or Q4_K, embeddings IQ3_S, output head Q5_K", 2.74, None, None),
    "IQ2_M": ("iq2_s", "attention IQ3_S or Q4_K, embeddings IQ3_S, output head Q5_K", 2.93, 2.37, 0.326),
    "IQ3_XXS": ("iq3_xxs", "attention values Q4_K, queries and keys IQ2_S, output head Q5_K", 3.25, None, 0.184),
    "IQ3_XS": ("iq3_s", f"queries, keys and middle layers IQ3_XXS, {_EMB}", 3.50, None, None),
    "IQ3_S": ("iq3_s", f"attention values Q4_K, {_EMB}", 3.66, None, None),
    "IQ3_M": ("iq3_s", f"attention values and output Q4_K, {_EMB}", 3.76, 0.667, 0.103),
    "IQ4_XS": ("iq4_xs", f"attention values Q5_K, {_EMB}", 4.46, 0.228, 0.0363),
    "IQ4_NL": ("iq4_nl", f"attention values Q5_K, {_EMB}", 4.68, None, None),
    "TQ1_0": ("tq1_0", f"embeddings Q4_K, {_EMB}", 2.19, None, None),
    "TQ2_0": ("tq2_0", f"embeddings Q4_K, {_EMB}", 2.52, None, None),
    "MXFP4_MOE": ("mxfp4_ggml", "experts MXFP4, everything else Q8_0", None, None, None),
    "Q1_0": ("q1_0", _EMB, 1.48, None, None),
    "Q2_0": ("q2_0", f"embeddings Q4_K, {_EMB}", 2.68, None, None),
}  # fmt: skip

WITH_IMATRIX = ("IQ4_XS", "Q4_K_S", "Q3_K_M", "Q2_K", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_M", "IQ3_XXS", "IQ3_M")
ENGINES = "llama.cpp and what stands on it (Ollama, LM Studio, KoboldCpp, llama-cpp-python), localq"
_COUNTED = "llama-quantize, dry run on the shape of Llama-3.1-8B"
_LOSSES = "llama.cpp, tools/perplexity/README.md"


def card(scheme: str, kind: str | None) -> Card | None:
    """The recipe called `scheme` (`Q4_K_M`, `UD-Q4_K_XL`), as its name in GGUF files has it."""
    name = scheme.removeprefix("UD-")
    base = name if name in RECIPES else _nearest(name)
    if base is None:
        return None
    main, mixture, bits, _, _ = RECIPES[base]
    own = name == base and name == scheme
    what = f"{_KINDS[kind or '']}; the main type is {main.upper().removesuffix('_GGML')}"
    dynamic = "Unsloth's dynamic recipe: the type of every tensor is chosen model by model, so only its headers tell"
    longer = f"not one of llama-quantize's: like {base}, with larger embeddings or output head"
    return Card(
        what=what,
        packing=PACKINGS[main],
        mixture=mixture if own else (dynamic if scheme.startswith("UD-") else longer),
        typical=Figure(f"{bits:.2f} bits per weight over a whole 8B model", _COUNTED) if own and bits else None,
        activations="stay in 16 or 32 bits in the file; engines may round them to 8 bits while multiplying",
        engines=ENGINES,
        made="llama-quantize from a 16-bit GGUF in minutes; an importance matrix (imatrix) improves it",
        quality=_losses(base) if own else (),
        who=_who(base),
        instead=_instead(base),
    )


def _nearest(name: str) -> str | None:
    """Q6_K for Q6_K_L, Q4_K_M for Q4_K_XL, Q4_0 for Q4_0_4_8: the recipe of llama-quantize it varies."""
    for base in (name.rsplit("_", 1)[0] + "_M", name.rsplit("_", 1)[0], name.rsplit("_", 2)[0], f"{name}_M"):
        if base in RECIPES:
            return base
    return "Q8_0" if name.startswith("Q8_K") else None


def _losses(name: str) -> tuple[Figure, ...]:
    _, _, _, perplexity, divergence = RECIPES[name]
    imatrix = " (with imatrix)" if name in WITH_IMATRIX else ""
    words = []
    if perplexity is not None:
        words.append(f"perplexity {6.2331:.2f} in fp16 grows by {perplexity:g}")
    if divergence is not None:
        words.append(f"KL divergence {divergence:g}")
    return (Figure(f"Llama-3-8B{imatrix}: {', '.join(words)}", _LOSSES),) if words else ()


def _who(name: str) -> str:
    bits = int("".join(c for c in name.split("_")[0] if c.isdigit()) or 4)
    if name.startswith("TQ") or name == "Q1_0":
        return "models that were trained with so few values; for others it destroys the weights"
    return {
        1: "who must fit a very large model and accepts a damaged one",
        2: "who must fit a large model and accepts visible losses",
        3: "who is a little short of memory for 4 bits",
        4: "most people: the usual balance of size and quality",
        5: "who has a little more memory and wants reasoning or code closer to the original",
        6: "who wants almost the original at 40 % of its size",
        8: "who wants the original in half its size, or a source to convert from",
    }.get(bits, "most people")


def _instead(name: str) -> str:
    bits = int("".join(c for c in name.split("_")[0] if c.isdigit()) or 4)
    if name.startswith("TQ"):
        return "Q4_K_M for a model that was not trained in ternary"
    if bits < 3:
        return "a smaller model at Q4_K_M is often better than this"
    if name in ("Q4_0", "Q4_1", "Q5_0", "Q5_1") or name == "Q3_K_S":
        return "Q4_K_M or Q5_K_M: better at the same size, unless the model was trained for this type (QAT)"
    return {3: "Q4_K_M with a shorter context; IQ3_M at the same size", 4: "Q5_K_M or Q6_K for reasoning and code",
            5: "Q4_K_M for speed, Q6_K for quality", 6: "Q5_K_M to save memory, Q8_0 to be safe",
            8: "Q6_K: hard to tell apart and a quarter smaller"}.get(bits, "Q4_K_M")  # fmt: skip
