"""BitNet b1.58 of the 1bitLLM kind: Llama with ternary weights and a norm before each output projection, SiLU.

llama.cpp computes SiLU for this name (src/models/bitnet.cpp) and converts only models with a SentencePiece
vocabulary; microsoft/bitnet-b1.58-2B-4T, which has another activation, is none of them.
"""

from __future__ import annotations

from typing import Any

from localq.checkpoints.architectures import Architecture
from localq.checkpoints.architectures._decoder import ATTENTION, LAYER, MLP, NORMS, decoder
from localq.checkpoints.keys import brief
from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys


def _config(keys: ModelKeys) -> dict[str, Any]:
    vocabulary = keys.metadata.get("tokenizer.ggml.model")
    if vocabulary != "llama":
        raise UnsupportedError(
            f"This bitnet file has a vocabulary of the kind {brief(vocabulary)}; localq knows those with 'llama', "
            "whose activation is SiLU.",
            "Microsoft's BitNet runs from its safetensors repository.",
        )
    return {**decoder(keys, scalings=("linear",)), "hidden_act": "silu", "tie_word_embeddings": True}


ARCHITECTURE = Architecture(
    model_type="bitnet",
    names={
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        **NORMS,
        **ATTENTION,
        "blk.{i}.attn_sub_norm.weight": LAYER + "self_attn.attn_sub_norm.weight",
        **MLP,
        "blk.{i}.ffn_sub_norm.weight": LAYER + "mlp.ffn_sub_norm.weight",
    },
    config=_config,
)
