"""Sizes, dates, versions and shards as they are written in names. Readers answer like those of `schemes`."""

from __future__ import annotations

import re

from localq.labels.schemes import Facts, Found, Words

_UNITS = {"k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}
_SIZE = re.compile(r"(a|e)?([0-9]{1,4}(?:\.[0-9]{1,3})?)([bmt])")
_EXPERTS = re.compile(r"([0-9]{1,3})x([0-9]{1,4}(?:\.[0-9]{1,3})?)([bm])")
_BOTH = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?)ba([0-9]{1,3}(?:\.[0-9]{1,3})?)b")
_SPLIT = ("1", "6b")  # StableLM 2 writes 1.6B so
_VERSION = re.compile(r"v([0-9]{1,2}(?:\.[0-9]{1,3}){0,3}[a-z]?)")


def size_at(words: Words, i: int) -> Found:
    """27B, 0.6B, 270M, A3B, E2B, 8x7B, 30BA3B. `effective`, `experts` and `expert_size` are for the notes."""
    word = words[i]
    if len(word) > 12:
        return None
    both = _BOTH.fullmatch(word)
    if both:
        return 1, {"parameters": count(both[1], "b"), "active_parameters": count(both[2], "b")}
    experts = _EXPERTS.fullmatch(word)
    if experts:
        return 1, {"experts": int(experts[1]), "expert_size": count(experts[2], experts[3])}
    size = _SIZE.fullmatch(word)
    if size:
        key = {"a": "active_parameters", "e": "effective"}.get(size[1] or "", "parameters")
        return 1, {key: count(size[2], size[3])}
    tenths = re.fullmatch(r"([0-9]{1,2})b([0-9])", word)  # bloom-7b1
    if tenths:
        return 1, {"parameters": count(f"{tenths[1]}.{tenths[2]}", "b")}
    if tuple(words[i : i + 2]) == _SPLIT:
        return 2, {"parameters": count("1.6", "b")}
    if word == "0" and i + 1 < len(words) and re.fullmatch(r"[1-9][0-9]?b", words[i + 1]):
        return 2, {"parameters": count(f"0.{words[i + 1][:-1]}", "b")}
    if re.fullmatch(r"[0-9]{1,3}e", word):
        return 1, {"experts": int(word[:-1])}
    return None


def count(digits: str, unit: str) -> int:
    """ "1.5", "b" -> 1500000000, without a float's rounding."""
    whole, _, part = digits.partition(".")
    factor = _UNITS[unit]
    return int(whole) * factor + (int(part) * factor // 10 ** len(part) if part else 0)


def context_at(words: Words, i: int) -> Found:
    """4k, 128k, 1048k: tokens of context."""
    return (1, {}) if re.fullmatch(r"[1-9][0-9]{0,3}k", words[i]) else None


def date_at(words: Words, i: int) -> Found:
    """2507 (YYMM), 0528 (MMDD), 053125 (MMDDYY), 20250820, 08-2024, 2024-07-18; kept as written, joined by hyphens."""
    word = words[i]
    if not re.fullmatch(r"[0-9]{2,8}", word):
        return None
    follow = [words[j] if j < len(words) else "" for j in (i + 1, i + 2)]
    if _is_year(word) and _is_month(follow[0]):
        if re.fullmatch(r"[0-3][0-9]", follow[1]):
            return 3, {"date": f"{word}-{follow[0]}-{follow[1]}"}
        return 2, {"date": f"{word}-{follow[0]}"}
    if _is_month(word) and _is_year(follow[0]):
        return 2, {"date": f"{word}-{follow[0]}"}
    if len(word) == 8 and (_is_year(word[:4]) and _is_month(word[4:6]) or _is_day(word[:4]) and _is_year(word[4:])):
        return 1, {"date": word}
    if len(word) == 6 and (_is_year(word[:4]) and _is_month(word[4:]) or _is_short(word[:4])):
        return 1, {"date": word}
    if len(word) == 6 and _is_day(word[:4]) and re.fullmatch(r"2[2-9]", word[4:]):
        return 1, {"date": word}
    if len(word) == 4 and (_is_short(word) or _is_day(word)) and word != "1024":
        return 1, {"date": word}
    return None


def _is_year(text: str) -> bool:
    return re.fullmatch(r"20[23][0-9]", text) is not None


def _is_month(text: str) -> bool:
    return re.fullmatch(r"0[1-9]|1[0-2]", text) is not None


def _is_short(text: str) -> bool:
    return re.fullmatch(r"2[2-9](0[1-9]|1[0-2])", text) is not None


def _is_day(text: str) -> bool:
    return re.fullmatch(r"(0[1-9]|1[0-2])(0[1-9]|[12][0-9]|3[01])", text) is not None


def version_at(words: Words, i: int) -> Found:
    """v0.3, V2, v1_5, v 2."""
    found = _VERSION.fullmatch(words[i])
    if found:
        follow = words[i + 1] if i + 1 < len(words) else ""
        if re.fullmatch(r"k[0-9]{2,6}", follow):  # VPTQ's vector length
            return None
        if found[1].isdigit() and re.fullmatch(r"[0-9]", follow) and not _counts_bits(words, i + 1):
            return 2, {"version": f"{found[1]}.{follow}"}
        return 1, {"version": found[1]}
    return None


def plain_version_at(words: Words, i: int) -> Found:
    """3.6, 4, 3n; 3_1 and 2_5 are 3.1 and 2.5. Only where a version may stand."""
    word = words[i]
    if not re.fullmatch(r"[0-9]{1,2}(?:\.[0-9]{1,2}){0,2}[a-z]?", word) or _counts_bits(words, i):
        return None
    if tuple(words[i : i + 2]) == _SPLIT:
        return None
    dated = date_at(words, i)
    if re.fullmatch(r"[0-9.]+[bmtkgex]", word) or (dated and dated[0] > 1):
        return None
    follow = words[i + 1] if i + 1 < len(words) and tuple(words[i + 1 : i + 3]) != _SPLIT else ""
    if word.isdigit() and re.fullmatch(r"[0-9]", follow) and not _counts_bits(words, i + 1):
        return 2, {"version": f"{word}.{follow}"}
    return 1, {"version": word}


def _counts_bits(words: Words, i: int) -> bool:
    return i + 1 < len(words) and words[i + 1] in ("bit", "bits", "bpw")


def shard_at(words: Words, i: int) -> Found:
    """00002-of-00003, part1of3."""
    if i + 2 < len(words) and words[i + 1] == "of" and re.fullmatch(r"[0-9]{3,5}", words[i]):
        total = re.fullmatch(r"[0-9]{3,5}", words[i + 2])
        return _shard(3, words[i], total[0]) if total else None
    glued = re.fullmatch(r"part([0-9]{1,5})of([0-9]{1,5})", words[i]) if len(words[i]) < 20 else None
    return _shard(1, glued[1], glued[2]) if glued else None


def _shard(taken: int, one: str, total: str) -> Found:
    facts: Facts = {"shard": (int(one), int(total))}
    return (taken, facts) if 1 <= int(one) <= int(total) else None
