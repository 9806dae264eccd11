r"""How a byte-level BPE vocabulary of a GGUF splits text before merging: `tokenizer.ggml.pre` -> regular expressions.

The names and their expressions are those of llama.cpp (src/llama-vocab.cpp, `llm_tokenizer_bpe`). Each expression
is applied to what the one before it left, matches and the gaps between them become words of their own. Where
llama.cpp writes an approximation for its own regex engine (`tekken`, `gpt-4o`, the `(?i:...)` contractions), the
expression of the model's own tokenizer.json stands here: a model must see the splits it was trained on, in either
container. A name that is not in this table is refused; guessing a regex would quietly change what the model reads.
"""

from __future__ import annotations

from typing import NamedTuple

from localq.errors import UnsupportedError


class Split(NamedTuple):
    """Splitting rule of one `pre` name and the defaults llama.cpp ties to that name."""

    patterns: tuple[str, ...]
    ignore_merges: bool = False  # a word that is a token is taken whole, without looking at merges
    add_bos: bool = False  # where the file has no add_bos_token


_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CONTRACTION = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_QWEN2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}|{_REST}"
_LLAMA3 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}|{_REST}"

_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASED = (rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+", rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*")
_GPT4O_TAIL = rf"\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
_GPT4O = rf"{_CASED[0]}{_CONTRACTION}?|{_CASED[1]}{_CONTRACTION}?|{_GPT4O_TAIL}"
_TEKKEN = rf"{_CASED[0]}|{_CASED[1]}|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"

_ASCII_PUNCTUATION = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"
_MARKED = rf"{_ASCII_PUNCTUATION}[A-Za-z]+|[^\r\n\p{{L}}\p{{P}}\p{{S}}]?[\p{{L}}\p{{M}}]+| ?[\p{{P}}\p{{S}}]+[\r\n]*"
_DEEPSEEK3 = (r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", rf"{_MARKED}|{_SPACES}")

# The letters deepseek-llm's tokenizer.json lists one by one (cased scripts of an older Unicode).
_DEEPSEEK_LETTERS = (
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴᾶ-ᾼ\u1fbe"
    "ῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_DEEPSEEK_CJK = "[一-龥\u0800-一가-\ud7ff]+"
_DEEPSEEK_LLM = (
    r"[\r\n]",
    rf"\s?[{_DEEPSEEK_LETTERS}]+",
    "\\s?[!-/:-~！-／：-～‘-‟\u3000-。]+",
    r"\s+$",
    _DEEPSEEK_CJK,
    r"\p{N}+",
)
_DEEPSEEK_CODER = (r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _DEEPSEEK_CJK, r"\p{N}")
_PUNCTUATION = r"[\p{P}\$\+<=>\^~\|`]+"
_BLOOM = " ?[^(\\s|.,!?…。，、।۔،)]+"
_YOUTU = (
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
    rf"{_CASED[0]}{_CONTRACTION}?|{_CASED[1]}{_CONTRACTION}?|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}",
)
_CHAMELEON = (
    r"<sentinel:[0-9]+>",
    r"(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    r"([\t\n]|    |  )",
    r"\p{N}",
    r"[\p{P}!-/:-@\[-`{-~]",
    _GPT2,
)
_DEFAULT = (r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", r"[0-9][0-9][0-9]")
_JAIS2_SPACES = "|".join(rf"\s{{{n}}}(?!\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4)) + r"|\s{1,2}(?!\S)|\s{1}"
_JAIS2 = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{_JAIS2_SPACES}"
_QWEN35 = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}"
    rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
_BAILING = r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
_SEED = rf"{_CONTRACTION}|{_WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{_SPACES}"
_EXAONE_MOE = (
    rf"{_CONTRACTION}|[^\r\n\p{{L}}\p{{N}}]?(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"
)
_HAN = r"&&[^\p{Han}]"
_KIMI_UPPER, _KIMI_LOWER = _UPPER.replace("]", _HAN + "]"), _LOWER.replace("]", _HAN + "]")
_KIMI_K2 = (
    rf"\p{{Han}}+|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}*{_KIMI_LOWER}+{_CONTRACTION}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?{_KIMI_UPPER}+{_KIMI_LOWER}*{_CONTRACTION}?"
    rf"|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{_SPACES}"
)
# Blocks of CJK, Kana, Thai, Lao, Khmer, Myanmar and Hangul
_AFMOE_SCRIPTS = (
    r"[\x{4e00}-\x{9fff}\x{3400}-\x{4dbf}\x{f900}-\x{faff}\x{3040}-\x{30ff}\x{ff65}-\x{ff9f}\x{2f00}-\x{2fdf}"
    r"\x{e40}-\x{eff}\x{1780}-\x{17ff}\x{1000}-\x{109f}\x{aa60}-\x{aa7f}\x{a9e0}-\x{a9ff}\x{ac00}-\x{d7af}"
    r"\x{1100}-\x{11ff}]+"
)
_AFMOE = (r"\p{N}{1,3}(?=(?:\p{N}{3})*(?!\p{N}))", _AFMOE_SCRIPTS, rf"{_MARKED}|{_SPACES}")
_SPARK = (*_DEEPSEEK3[:2], _MARKED.removesuffix(r"[\r\n]*") + r"|[\r\n]|\s+(?!\S)|\s+", r"\p{N}")
_MINICPM5 = (r"\p{N}{1,3}", rf"{_CONTRACTION}|{_WORD}|\p{{N}}+|{_REST}")

_RULES: tuple[tuple[str, Split], ...] = (
    ("default", Split(_DEFAULT)),
    ("llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2 jina-v5-nano", Split((_LLAMA3,), True, True)),
    ("dbrx smaug-bpe chatglm-bpe", Split((_LLAMA3,))),
    ("glm4 glm5", Split((_LLAMA3,), True)),
    ("kimi-k2", Split((_KIMI_K2,))),
    ("afmoe", Split(_AFMOE)),
    ("spark2_5", Split(_SPARK)),
    ("superbpe", Split((r"\p{N}+", r"(?=(\d{3})+(?!\d))"))),
    ("granite-embed-multi-97m", Split((_GPT4O,), True)),
    ("minicpm5", Split(_MINICPM5, True)),
    ("jais-2", Split((_JAIS2,))),
    ("qwen2 deepseek-r1-qwen kormo f2llmv2 megrez stablelm2 hunyuan solar-open grok-2", Split((_QWEN2,))),
    ("qwen35", Split((_QWEN35,))),
    ("ufakzeka", Split((rf"{_WORD}|\p{{N}}|{_REST}",))),
    ("laguna", Split((r"[^\n]+|[\n]+", _QWEN2))),
    ("deepseek-llm", Split(_DEEPSEEK_LLM)),
    ("deepseek-coder", Split(_DEEPSEEK_CODER)),
    ("deepseek-v3 hunyuan-dense joyai-llm hy_v4", Split(_DEEPSEEK3)),
    ("youtu", Split(_YOUTU, True)),
    ("falcon", Split((_PUNCTUATION, _GPT2, r"[0-9][0-9][0-9]"))),
    ("starcoder refact command-r smollm codeshell exaone minerva-7b mellum2", Split((r"\p{N}", _GPT2))),
    ("gpt-2 phi-2 gigachat a.x-4.0 mellum mpt olmo jais trillion granite-docling exaone4", Split((_GPT2,))),
    ("jina-es jina-de jina-v2-es jina-v2-de modern-bert jina-v1-en jina-v2-code roberta-bpe", Split((_GPT2,))),
    ("poro-chat bloom gpt3-finnish", Split((_BLOOM,))),
    ("viking", Split((_BLOOM, r"\p{N}"))),
    ("tekken", Split((_TEKKEN,), True, True)),
    ("gpt-4o llama4 kanana2 talkie minimax-m2", Split((_GPT4O,))),
    ("tiny_aya cohere2moe", Split((r"\d{1,3}(?=(?:\d{3})*\b)", _GPT4O))),
    ("bailingmoe bailingmoe2 llada-moe", Split((_BAILING,))),
    ("seed-coder", Split((_SEED,))),
    ("exaone-moe", Split((_EXAONE_MOE,))),
    ("chameleon", Split(_CHAMELEON, False, True)),
)
SPLITS: dict[str, Split] = {name: rule for names, rule in _RULES for name in names.split()}


def split_rule(pre: str) -> Split:
    """The rule of one `tokenizer.ggml.pre` value.

    Raises:
        UnsupportedError: a name that is not in the table.
    """
    if pre not in SPLITS:
        raise UnsupportedError(
            f"The tokenizer's pre-tokenizer '{pre}' is not one localq knows ({len(SPLITS)} names, from 'llama-bpe' to "
            "'gpt-4o').",
            "A guessed one would change what the model reads: use the model's safetensors repository, which has its "
            "own tokenizer.json.",
        )
    return SPLITS[pre]
