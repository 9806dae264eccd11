"""The demo's network in torch: a Llama decoder with Hugging Face's names, every in_features a multiple of 256."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 256,
    "intermediate_size": 768,
    "num_hidden_layers": 5,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "max_position_embeddings": 1024,
    "rope_theta": 10000.0,
    "vocab_size": 2048,
    "tie_word_embeddings": True,
    "attention_bias": False,
    "mlp_bias": False,
    "torch_dtype": "bfloat16",
}
WIDTH, HEADS, KV_HEADS, HEAD = 256, 4, 2, 64
DROPOUT = 0.1


class Attention(nn.Module):
    """Causal attention with grouped keys and values; rotary positions in halves, as Hugging Face's Llama."""

    def __init__(self) -> None:
        super().__init__()
        self.q_proj = nn.Linear(WIDTH, HEADS * HEAD, bias=False)
        self.k_proj = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.v_proj = nn.Linear(WIDTH, KV_HEADS * HEAD, bias=False)
        self.o_proj = nn.Linear(HEADS * HEAD, WIDTH, bias=False)

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        b, t, _ = x.shape
        q = turned(self.q_proj(x).view(b, t, HEADS, HEAD).transpose(1, 2), rope)
        k = turned(self.k_proj(x).view(b, t, KV_HEADS, HEAD).transpose(1, 2), rope)
        v = self.v_proj(x).view(b, t, KV_HEADS, HEAD).transpose(1, 2)
        k, v = (a.repeat_interleave(HEADS // KV_HEADS, dim=1) for a in (k, v))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, HEADS * HEAD))


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        inner = CONFIG["intermediate_size"]
        self.gate_proj = nn.Linear(WIDTH, inner, bias=False)
        self.up_proj = nn.Linear(WIDTH, inner, bias=False)
        self.down_proj = nn.Linear(inner, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(WIDTH, eps=CONFIG["rms_norm_eps"])
        self.self_attn = Attention()
        self.post_attention_layernorm = nn.RMSNorm(WIDTH, eps=CONFIG["rms_norm_eps"])
        self.mlp = MLP()

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        x = x + F.dropout(self.self_attn(self.input_layernorm(x), rope), DROPOUT, self.training)
        return x + F.dropout(self.mlp(self.post_attention_layernorm(x)), DROPOUT, self.training)


class Decoder(nn.Module):
    """Token ids `[batch, time]` to hidden states; the embedding is also the output matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(CONFIG["vocab_size"], WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(CONFIG["num_hidden_layers"]))
        self.norm = nn.RMSNorm(WIDTH, eps=CONFIG["rms_norm_eps"])
        for name, p in self.named_parameters():
            if p.ndim == 2:
                deep = name.endswith(("o_proj.weight", "down_proj.weight"))
                nn.init.normal_(p, std=0.02 / (2 * CONFIG["num_hidden_layers"]) ** 0.5 if deep else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed_tokens(ids)
        rope = angles(ids.shape[1])
        for layer in self.layers:
            x = layer(x, rope)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        return F.linear(hidden, self.embed_tokens.weight)


def angles(length: int) -> tuple[Tensor, Tensor]:
    """cos and sin `[length, head]`."""
    inverse = CONFIG["rope_theta"] ** (-torch.arange(0, HEAD, 2) / HEAD)
    turn = torch.outer(torch.arange(length), inverse).repeat(1, 2)
    return turn.cos(), turn.sin()


def turned(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary positions: halves of the head form the pairs."""
    one, two = x.chunk(2, dim=-1)
    return (x * rope[0] + torch.cat((-two, one), dim=-1) * rope[1]).to(x.dtype)
