"""GGUF architectures that llama.cpp knows and localq cannot run, and what is missing: mostly a model in mlx-lm.

Names are llama.cpp's (LLM_ARCH_NAMES, src/llama-arch.cpp, in llama-cpp-python 0.3.36).
"""

from __future__ import annotations

_NO_TEXT = "it gives vectors, not text"
_DRAFT = "it drafts tokens for another model and is none by itself"
_DIFFUSES = "it writes by diffusion, not token by token, and mlx-lm has no such model"
_SOUND = "it makes sound"

# name -> what is missing; None is mlx-lm's implementation
_WHY: dict[str, str | None] = {
    **dict.fromkeys(
        """falcon grok mpt baichuan refact bloom qwen4exp codeshell orion maple cohere2moe arctic deepseek2-ocr jais
        jais2 rwkv6 rwkv6qwen2 arwkv7 graniteswitch granite_swa chameleon plm dots3note arcee hunyuan_vl hy_v3 hy_v4
        smallthinker grovemoe hrm_text cogvlm pangu-embedded paddleocr maincoder glm5-next""".split()
    ),
    **dict.fromkeys(
        """bert modern-bert nomic-bert nomic-bert-moe neo-bert jina-bert-v2 jina-bert-v3 eurobert gemma-embedding
        llama-embed t5encoder""".split(),
        _NO_TEXT,
    ),
    **dict.fromkeys(("gemma4-assistant", "eagle3", "dflash"), _DRAFT),
    **dict.fromkeys(("llada", "llada-moe", "dream", "rnd1"), _DIFFUSES),
    **dict.fromkeys(("wavtokenizer-dec", "qwen3tts", "pockettts"), _SOUND),
    "clip": "it sees for another model and is none by itself",
    "t5": "it has an encoder beside its decoder, and mlx-lm has no such model",
    "gptj": "llama.cpp has the name and no implementation, so no converter says how its tensors lie",
    "minimax-01": "mlx-lm's minimax is M2, without the lightning attention of MiniMax-01",
    "deepseek4": "mlx-lm has DeepSeek V4.1, whose layers share keys and have neither shared experts nor hashed routing",
}


def absent(architecture: str) -> tuple[str, str] | None:
    """Sentence and hint for an architecture llama.cpp knows, None for all others."""
    if architecture not in _WHY:
        return None
    why = _WHY[architecture]
    sentence = (
        f"localq cannot run the GGUF architecture '{architecture}': {why or 'mlx-lm has no implementation of it'}."
    )
    if why in (_NO_TEXT, _DRAFT, _SOUND) or architecture == "clip":
        return sentence, "`localq explain` shows what the file holds."
    return sentence, "llama.cpp may run it: pip install 'localq[llama]', then --engine llama."
