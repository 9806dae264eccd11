"""Quantisation schemes as they are written in names, and the facts that each fixes by its definition.

A reader looks at the words from `i` on and answers with how many it took and what they say, or None.
Sources of the definitions: ggml-common.h and llama-quant.cpp (GGUF), compressed-tensors' preset schemes (WxAy, FP8,
NVFP4), the OCP MX specification, bitsandbytes, exllamav2/3, MLC's quantisation names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Facts = dict[str, Any]
Found = tuple[int, Facts] | None
Words = Sequence[str]

_TIERS = ("xxs", "xs", "s", "m", "l", "xl", "xxl")
_COMPACT = re.compile(r"(i?q)([1-8])(?:k(xl|[sml])?|(xxs|xs|nl))")
_INTEGERS = re.compile(r"u?int([1-8])(mix(?:ed)?)?")
_WEIGHTS = re.compile(r"w([1-9]|1[0-6])(?:a(fp)?([1-9]|1[0-6]))?(?:kv([1-9]|1[0-6]))?(?:g([0-9]{2,4}))?")
_BITS = re.compile(r"([1-9][0-9]?(?:\.[0-9]{1,3})?)bits?(?:(?:gs?|group)([0-9]{1,4}))?")
_FLOATS = {
    "bf16": 16, "bfloat16": 16, "f16": 16, "fp16": 16, "float16": 16, "f32": 32, "fp32": 32, "float32": 32,
}  # fmt: skip


def scheme_at(words: Words, i: int) -> Found:
    """The scheme written from word `i` on."""
    if len(words[i]) > 24:
        return None
    for read in _READERS:
        found = read(words, i)
        if found:
            return found
    return None


def _word(words: Words, i: int) -> str:
    return words[i] if i < len(words) else ""


def _dynamic(words: Words, i: int) -> Found:
    """`UD-` before a GGUF scheme."""
    found = _ggml(words, i + 1) if words[i] == "ud" and i + 1 < len(words) else None
    if not found:
        return None
    count, facts = found
    return count + 1, {**facts, "scheme": f"UD-{facts['scheme']}", "dynamic": True}


def _ggml(words: Words, i: int) -> Found:
    """Q4_0, Q4_K_M, IQ2_XXS, TQ1_0, MXFP4_MOE in any spelling with separators, and Q4KM."""
    word = words[i]
    compact = _COMPACT.fullmatch(word)
    if compact and (compact[1] == "iq") == bool(compact[4]):
        tier = compact[3] or compact[4] or ""
        parts = [compact[1] + compact[2], *(["k"] if compact[1] == "q" else []), *([tier] if tier else [])]
        found = _ggml(parts, 0)
        return (1, found[1]) if found else None
    legacy = re.fullmatch(r"(t?q)([1-8])\.([01])", word)
    if legacy:
        found = _ggml([legacy[1] + legacy[2], legacy[3]], 0)
        return (1, found[1]) if found else None
    kind = re.fullmatch(r"(i|t)?q([1-8])", word)
    if not kind:
        return _moe(words, i) or _bitnet_cpp(words, i)
    readers = {"": _q, "i": _iq, "t": _tq}
    return readers[kind[1] or ""](int(kind[2]), words, i)


def _moe(words: Words, i: int) -> Found:
    if words[i] == "mxfp4" and _word(words, i + 1) == "moe":
        facts: Facts = {"scheme": "MXFP4_MOE", "weight_bits": 4, "number_format": "float"}
        return 2, {**facts, "block_structure": "mx", "container": "gguf"}
    return None


def _bitnet_cpp(words: Words, i: int) -> Found:
    """I2_S, TL1, TL2: ternary weights as bitnet.cpp packs them in its GGUF files."""
    facts: Facts = {"number_format": "ternary", "container": "gguf"}
    if words[i] == "i2" and _word(words, i + 1) == "s":
        return 2, {**facts, "weight_bits": 2, "scheme": "I2_S"}
    return (1, {**facts, "scheme": words[i].upper()}) if words[i] in ("tl1", "tl2") else None


def _q(bits: int, words: Words, i: int) -> Found:
    facts: Facts = {"weight_bits": bits, "number_format": "int", "container": "gguf"}
    follow = _word(words, i + 1)
    if follow == "k":
        tier = _word(words, i + 2) if _word(words, i + 2) in _TIERS else ""
        count, scheme = (3, f"Q{bits}_K_{tier.upper()}") if tier else (2, f"Q{bits}_K")
        facts |= {"block_structure": "k", **({"tier": tier.upper()} if tier else {})}
        return _repacked(words, i, count, {**facts, "scheme": scheme})
    if follow in ("0", "1"):
        if (bits, follow) not in _LEGACY:
            return None
        legacy = {"block_structure": "legacy"} if bits > 2 else {}
        return _repacked(words, i, 2, {**facts, **legacy, "scheme": f"Q{bits}_{follow}"})
    return 1, {"scheme": f"Q{bits}", "weight_bits": bits}


_LEGACY = {(1, "0"), (2, "0"), (4, "0"), (4, "1"), (5, "0"), (5, "1"), (6, "0"), (8, "0"), (8, "1")}


def _repacked(words: Words, i: int, count: int, facts: Facts) -> Found:
    """Rows interleaved for CPU kernels: `Q4_0_4_8`, `Q4_K_R4`."""
    one, two = _word(words, i + count), _word(words, i + count + 1)
    if one in ("4", "8") and two in ("4", "8"):
        return count + 2, {**facts, "scheme": f"{facts['scheme']}_{one}_{two}"}
    if one in ("r4", "r8"):
        return count + 1, {**facts, "scheme": f"{facts['scheme']}_{one.upper()}"}
    return count, facts


def _iq(bits: int, words: Words, i: int) -> Found:
    facts: Facts = {"weight_bits": bits, "number_format": "codebook", "container": "gguf"}
    follow = _word(words, i + 1)
    if follow in ("xxs", "xs", "s", "m"):
        known = {"block_structure": "i", "tier": follow.upper()}
    elif follow == "nl":
        known = {"block_structure": "i"}
    elif follow in ("k", "ks", "kss", "kl", "kt"):  # ik_llama.cpp's own
        known = {}
    else:
        return None
    return _repacked(words, i, 2, {**facts, **known, "scheme": f"IQ{bits}_{follow.upper()}"})


def _tq(bits: int, words: Words, i: int) -> Found:
    if _word(words, i + 1) != "0" or bits > 2:
        return None
    facts: Facts = {"number_format": "ternary", "block_structure": "ternary", "container": "gguf"}
    return 2, {**facts, "scheme": f"TQ{bits}_0"}


def _blocks(words: Words, i: int) -> Found:
    """MXFP4, MXFP8, NVFP4, with `A16` where activations stay as they are."""
    found = re.fullmatch(r"(mxfp[468]|nvfp4|mxint8)(?:a(16|8|4))?", words[i])
    if not found:
        return None
    name = found[1].upper()
    facts: Facts = {"weight_bits": int(name[-1]), "number_format": "int" if "INT" in name else "float"}
    facts["block_structure"] = "nv" if name.startswith("NV") else "mx"
    activation, count = found[2], 1
    if (beside := re.fullmatch(r"q([48])", _word(words, i + 1))) and not activation:  # MLX: the rest in so many bits
        return 2, {**facts, "scheme": f"{name}-Q{beside[1]}"}
    if not activation and re.fullmatch(r"a(16|8|4)", _word(words, i + 1)):
        activation, count = words[i + 1][1:], 2
    if activation:
        facts["activation_bits"] = int(activation)
        name += f"A{activation}"
    return count, {**facts, "scheme": name}


def _fp8(words: Words, i: int) -> Found:
    """FP8 with what follows it: how activations are scaled, which bits, a cache in FP8."""
    found = re.fullmatch(r"(?:fp8|float8|f8)(e4m3|e5m2)?(?:fn|fnuz)?(kv)?", words[i])
    if not found or (words[i] == "f8" and _word(words, i + 1)[:4] not in ("e4m3", "e5m2")):
        return None
    facts: Facts = {"weight_bits": 8, "number_format": "float"}
    count, parts = 1, [p.upper() for p in found.groups() if p]
    while (follow := _FP8_WORDS.get(_word(words, i + count))) and count < 4:
        parts.append(follow)
        count += 1
    if "dynamic" in parts:
        facts["activation_bits"] = 8
    if "KV" in parts:
        facts["kv_bits"] = 8
    return count, {**facts, "scheme": "-".join(["FP8", *parts])}


_FP8_WORDS = {
    "dynamic": "dynamic", "static": "static", "block": "block", "kv": "KV", "e4m3": "E4M3", "e5m2": "E5M2",
    "e4m3fn": "E4M3", "e4m3fnuz": "E4M3",
}  # fmt: skip


def _floats(words: Words, i: int) -> Found:
    word = words[i]
    if word in _FLOATS:
        spelt = {"bfloat16": "BF16", "float16": "FP16", "float32": "FP32"}.get(word, word.upper())
        return 1, {"scheme": spelt, "weight_bits": _FLOATS[word], "number_format": "float"}
    if word == "nf4":
        return 1, {"scheme": "nf4", "weight_bits": 4, "number_format": "codebook"}
    if word in ("fp4", "fp6"):
        return 1, {"scheme": word.upper(), "weight_bits": int(word[-1]), "number_format": "float"}
    return None


def _integers(words: Words, i: int) -> Found:
    found = _INTEGERS.fullmatch(words[i])
    if not found:
        return None
    scheme = f"INT{found[1]}" + ("Mix" if found[2] else "")
    return 1, {"scheme": scheme, "weight_bits": int(found[1]), "number_format": "int"}


def _weights(words: Words, i: int) -> Found:
    """W4A16, W8A8, W4AFP8, W4A8KV4, W4A16G128, w4g64."""
    found = _WEIGHTS.fullmatch(words[i])
    if not found or not (found[3] or found[5]):
        return None
    facts: Facts = {"weight_bits": int(found[1]), "scheme": f"W{found[1]}"}
    if found[3]:
        facts |= {"activation_bits": int(found[3]), "scheme": f"W{found[1]}A{(found[2] or '').upper()}{found[3]}"}
    if found[4]:
        facts |= {"kv_bits": int(found[4]), "scheme": f"{facts['scheme']}KV{found[4]}"}
    if found[5]:
        facts["group_size"] = int(found[5])
    return 1, facts


def _bits(words: Words, i: int) -> Found:
    """4bit, 4-bit, 8 bits, 3.5bit, 4bitgs64."""
    word, count = words[i], 1
    if _word(words, i + 1) in ("bit", "bits") and re.fullmatch(r"[1-9][0-9]?(?:\.[0-9]{1,3})?", word):
        word, count = word + "bit", 2
    if i and words[i - 1] == "gptq" and re.fullmatch(r"[2-8]b", word) and group_at(words, i + 1):  # GPTQ-4b-128g
        word += "it"
    found = _BITS.fullmatch(word)
    if not found or float(found[1]) > 32:
        return None
    facts: Facts = {"scheme": f"{found[1]}bit", "weight_bits": number(found[1])}
    if found[1] == "1.58":
        facts["number_format"] = "ternary"
    if found[2]:
        facts["group_size"] = int(found[2])
    if re.fullmatch(r"[1-8]x[0-9]{1,2}", _word(words, i + count)):  # AQLM: codebooks x bits of their codes
        facts |= {"scheme": f"{facts['scheme']}-{words[i + count]}", "number_format": "codebook"}
        count += 1
    return count, facts


def _vectors(words: Words, i: int) -> Found:
    """VPTQ's v8-k65536-256-woft: 8 weights share a code of 65536 and one of 256 for the rest (0: none)."""
    found = [
        re.fullmatch(p, _word(words, i + k)) for k, p in enumerate((r"v([1-9][0-9]?)", r"k([0-9]{2,6})", r"[0-9]{1,6}"))
    ]
    if not (found[0] and found[1] and found[2]):
        return None
    length, codes, rest = int(found[0][1]), int(found[1][1]), int(found[2][0])
    bits = (max(codes - 1, 0).bit_length() + max(rest - 1, 0).bit_length()) / length
    scheme = "-".join(words[i : i + 3])
    return 3 + (_word(words, i + 3) == "woft"), {
        "scheme": scheme,
        "weight_bits": number(f"{bits:.3f}"),
        "number_format": "codebook",
    }


def _mixed(words: Words, i: int) -> Found:
    """mlx-lm's recipes of two widths: mixed_3_6."""
    if words[i] != "mixed" or not all(re.fullmatch(r"[2-8]", _word(words, i + k)) for k in (1, 2)):
        return None
    return 3, {"scheme": "_".join(words[i : i + 3]), "number_format": "int"}


def _per_weight(words: Words, i: int) -> Found:
    """4.65bpw; 1.58 and b1.58."""
    found = re.fullmatch(r"([0-9]{1,2}(?:\.[0-9]{1,4})?)bpw", words[i])
    apart = re.fullmatch(r"[0-9]{1,2}bpw", _word(words, i + 1)) if re.fullmatch(r"[1-8]", words[i]) else None
    if apart:  # 6_0bpw
        return 2, {"scheme": f"{words[i]}.{apart[0]}", "weight_bits": number(f"{words[i]}.{apart[0][:-3]}")}
    if found:
        return 1, {"scheme": f"{found[1]}bpw", "weight_bits": number(found[1])}
    apart_too = words[i] == "b1" and _word(words, i + 1) == "58"
    if words[i] in ("1.58", "b1.58") or apart_too:
        return 1 + apart_too, {"scheme": "1.58bit", "weight_bits": 1.58, "number_format": "ternary"}
    return None


def _compiled(words: Words, i: int) -> Found:
    """MLC's q4f16_1."""
    found = re.fullmatch(r"q([0348])f(16|32)", words[i])
    if not found:
        return None
    follow = _word(words, i + 1)
    count, scheme = (2, f"{words[i]}_{follow}") if follow in ("0", "1", "2") else (1, words[i])
    bits = {"weight_bits": int(found[1])} if found[1] != "0" else {}
    return count, {"scheme": scheme, **bits, "activation_bits": int(found[2])}


def group_at(words: Words, i: int) -> Found:
    """How many weights share a scale: g128, gs64, 128g, group-size-32."""
    found = re.fullmatch(r"(?:gs?|group|groupsize)([0-9]{1,4})|([0-9]{2,4})g", words[i])
    if found:
        return _group(1, found[1] or found[2])
    if words[i] in ("group", "groupsize", "gs", "g"):
        skip = 2 if _word(words, i + 1) == "size" else 1
        if re.fullmatch(r"[0-9]{1,4}", _word(words, i + skip)):
            return _group(skip + 1, words[i + skip])
    return None


def _group(count: int, digits: str) -> Found:
    size = int(digits)
    return (count, {"group_size": size}) if 8 <= size <= 1024 and size & (size - 1) == 0 else None


def cache_at(words: Words, i: int) -> Found:
    """A cache in fewer bits: KV8, kv-fp8, FP8KV."""
    found = re.fullmatch(r"kv(?:fp|int)?([48])|(?:fp|int)([48])kv", words[i])
    if found:
        return 1, {"kv_bits": int(found[1] or found[2])}
    if words[i] == "kv" and (after := re.fullmatch(r"(?:fp|int|q)([48])", _word(words, i + 1))):
        return 2, {"kv_bits": int(after[1])}
    return None


def number(digits: str) -> int | float:
    """A number as an int where it is whole."""
    value = float(digits)
    return int(value) if value == int(value) else value


_READERS: tuple[Callable[[Words, int], Found], ...] = (
    _dynamic, _ggml, _blocks, _fp8, _floats, _integers, _weights, _bits, _vectors, _mixed, _per_weight,
    _compiled,
)  # fmt: skip
