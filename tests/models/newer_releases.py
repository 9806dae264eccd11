"""More published models, the families of 2025 and 2026 among them; see releases.py.

Sizes are those of each release's config.json. Published are the numbers of its model card, or of its weights' headers:
without vision and audio towers and without blocks that predict further tokens, where the card counts those too.
"""

from __future__ import annotations

from tests.models.sizes import DELTA, Release, of


def _every(count: int, full: int, other: str = "sliding_attention") -> list[str]:
    """Kinds of layers: every `full`-th sees everything."""
    return ["full_attention" if i % full == full - 1 else other for i in range(count)]


_GEMMA_4 = {
    "head_dim": 256, "global_head_dim": 512, "sliding_window": 1024, "tie_word_embeddings": True,
    "hidden_size_per_layer_input": 0, "num_kv_shared_layers": 0, "attention_k_eq_v": True,
    "final_logit_softcapping": 30.0, "use_double_wide_mlp": False,
}  # fmt: skip
_HUNYUAN = {
    "head_dim": 128, "tie_word_embeddings": True, "use_qk_norm": True, "attention_bias": False,
    "rope_scaling": {"type": "dynamic", "alpha": 1000.0, "factor": 1.0},
}  # fmt: skip

NEWER: dict[str, Release] = {
    "gemma-3n-E4B": Release(  # 7.85 with towers
        of("gemma3n", (2048, 35, 16384, 8, 2, 262400), text_config=of(
            "gemma3n_text", (2048, 35, 16384, 8, 2, 262400), head_dim=256, sliding_window=512,
            layer_types=_every(35, 5), vocab_size_per_layer_input=262144, hidden_size_per_layer_input=256,
            altup_num_inputs=4, altup_active_idx=0, altup_coef_clip=120.0, altup_correct_scale=True, laurel_rank=64,
            num_kv_shared_layers=15, activation_sparsity_pattern=[0.95] * 10 + [0.0] * 25, rope_local_base_freq=1e4,
            final_logit_softcapping=30.0, query_pre_attn_scalar=256, tie_word_embeddings=True)), 6.87, 8192
    ),
    "gemma-4-31B": Release(
        of("gemma4_text", (5376, 60, 21504, 32, 16, 262144), **_GEMMA_4, num_global_key_value_heads=4,
           layer_types=_every(60, 6), enable_moe_block=False), 30.7, 81920
    ),
    "gemma-4-26B-A4B": Release(
        of("gemma4_text", (2816, 30, 2112, 16, 8, 262144), **_GEMMA_4, num_global_key_value_heads=2,
           layer_types=_every(30, 6), enable_moe_block=True, num_experts=128, top_k_experts=8,
           moe_intermediate_size=704), 25.2, 20480
    ),
    "Qwen3.5-27B": Release(  # sizes also in THUDM/slime scripts/models/qwen3.5-27B.sh
        {"model_type": "qwen3_5", "text_config": of(
            "qwen3_5_text", (5120, 64, 17408, 24, 4, 248320), **{**DELTA, "linear_num_value_heads": 48})}, 26.9, 65536
    ),
    "Qwen3.6-35B-A3B": Release(
        {"model_type": "qwen3_5_moe", "text_config": of(
            "qwen3_5_moe_text", (2048, 40, 512, 16, 2, 248320), **DELTA, num_experts=256, num_experts_per_tok=8,
            moe_intermediate_size=512, shared_expert_intermediate_size=512)}, 34.66, 20480
    ),
    "GLM-4.7-Flash": Release(  # 31.2 with the block that predicts further tokens
        of("glm4_moe_lite", (2048, 47, 10240, 20, 20, 154880), kv_lora_rank=512, q_lora_rank=768, qk_nope_head_dim=192,
           qk_rope_head_dim=64, v_head_dim=256, moe_intermediate_size=1536, n_routed_experts=64, n_shared_experts=1,
           num_experts_per_tok=4, first_k_dense_replace=1, n_group=1, topk_group=1, norm_topk_prob=True,
           routed_scaling_factor=1.8, topk_method="noaux_tc", attention_bias=False, partial_rotary_factor=1.0),
        29.9, 54144
    ),
    "Kimi-Linear-48B-A3B": Release(
        of("kimi_linear", (2304, 27, 9216, 32, 32, 163840), num_experts=256, num_experts_per_token=8, head_dim=72,
           moe_intermediate_size=1024, num_shared_experts=1, first_k_dense_replace=1, kv_lora_rank=512,
           q_lora_rank=None, qk_nope_head_dim=128, qk_rope_head_dim=64, v_head_dim=128, mla_use_nope=True,
           moe_layer_freq=1, moe_renormalize=True, num_expert_group=1, topk_group=1, routed_scaling_factor=2.446,
           model_max_length=1048576, linear_attn_config={
               "full_attn_layers": [4, 8, 12, 16, 20, 24, 27], "head_dim": 128, "num_heads": 32,
               "kda_layers": [i for i in range(1, 27) if i % 4], "short_conv_kernel_size": 4}), 49.12, 8064
    ),
    "granite-3.1-3b-a800m": Release(
        of("granitemoe", (1536, 32, 512, 24, 8, 49155), tie_word_embeddings=True, num_local_experts=40,
           num_experts_per_tok=8, logits_scaling=6.0, attention_multiplier=0.015625, embedding_multiplier=12.0,
           residual_multiplier=0.22, attention_bias=False), 3.30, 65536
    ),
    "Hunyuan-A13B": Release(
        of("hunyuan_v1_moe", (4096, 32, 3072, 32, 8, 128167), **_HUNYUAN, num_experts=64, moe_topk=8,
           num_shared_expert=1, moe_intermediate_size=3072, use_mixed_mlp_moe=True, use_cla=False), 80.4, 131072
    ),
    "bitnet-b1.58-2B-4T": Release(
        of("bitnet", (2560, 30, 6912, 20, 5, 128256), tie_word_embeddings=True, hidden_act="relu2"), 2.41, 76800
    ),
    "Falcon-H1-0.5B": Release(
        of("falcon_h1", (1024, 36, 2048, 8, 2, 32784), head_dim=64, mamba_d_ssm=1536, mamba_d_state=128,
           mamba_n_heads=24, mamba_d_head=64, mamba_n_groups=1, mamba_d_conv=4, mamba_chunk_size=128,
           mamba_conv_bias=True, mamba_proj_bias=False, mamba_rms_norm=False, mamba_norm_before_gate=False,
           attention_bias=False, mlp_bias=False, projectors_bias=False, key_multiplier=0.39, embedding_multiplier=5.66,
           lm_head_multiplier=0.039, attention_in_multiplier=1.0, attention_out_multiplier=0.94, ssm_in_multiplier=1.25,
           ssm_out_multiplier=0.24, mlp_multipliers=[0.88, 0.31], ssm_multipliers=[0.35, 0.25, 0.35, 0.5, 0.35]),
        0.521, 18432
    ),
    "internlm2-7b": Release(of("internlm2", (4096, 32, 14336, 32, 8, 92544), bias=False), 7.738, 131072),
    "Step-3.5-Flash": Release(
        {"model_type": "step3p5", "hidden_size": 4096, "intermediate_size": 11264, "num_attention_heads": 64,
         "num_attention_groups": 8, "num_hidden_layers": 45, "vocab_size": 128896, "rms_norm_eps": 1e-5,
         "moe_intermediate_size": 1280, "moe_num_experts": 288, "moe_top_k": 8, "head_dim": 128,
         "share_expert_dim": 1280, "sliding_window": 512, "max_position_embeddings": 262144, "rope_theta": 1e4,
         "layer_types": (["full_attention"] + ["sliding_attention"] * 3) * 11 + ["full_attention"],
         "moe_layers_enum": ",".join(str(i) for i in range(3, 45)), "use_head_wise_attn_gate": True,
         "attention_other_setting": {"attention_type": "sliding_attention", "num_attention_heads": 96,
                                     "num_attention_groups": 8, "head_dim": 128}, "tie_word_embeddings": False},
        196.8, 49152
    ),
    "Nemotron-Mini-4B": Release(
        of("nemotron", (3072, 32, 9216, 24, 8, 256000), head_dim=128, hidden_act="relu2", norm_eps=1e-5,
           partial_rotary_factor=0.5, attention_bias=False, mlp_bias=False), 4.19, 131072
    ),
    "Mistral-Small-3.1-24B": Release(
        {"model_type": "mistral3", "text_config": of("mistral", (5120, 40, 32768, 32, 8, 131072), head_dim=128)},
        23.57, 163840
    ),
}  # fmt: skip
