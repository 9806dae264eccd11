"""Published models: sizes as in their public config.json (facts only) and their published number of weights.

`weights` counts the language model as mlx-lm builds it: without vision towers and without blocks that predict further
tokens. `kv` is bytes of keys and values one more token takes at 16 bits, by hand from the sizes.
"""

from __future__ import annotations

from tests.models.newer_releases import NEWER
from tests.models.sizes import DELTA, Release, of

_DEEPSEEK = {
    "kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64, "qk_nope_head_dim": 128, "v_head_dim": 128,
    "moe_intermediate_size": 2048, "n_shared_experts": 1, "num_experts_per_tok": 8, "moe_layer_freq": 1,
    "scoring_func": "sigmoid", "topk_method": "noaux_tc", "norm_topk_prob": True, "routed_scaling_factor": 2.5,
    "rope_scaling": {"type": "yarn", "factor": 40, "mscale": 1.0, "mscale_all_dim": 1.0, "beta_fast": 32,
                     "beta_slow": 1, "original_max_position_embeddings": 4096},
}  # fmt: skip
RELEASES: dict[str, Release] = {
    "Llama-3.1-8B": Release(of("llama", (4096, 32, 14336, 32, 8, 128256)), 8.030, 131072),
    "Mistral-7B-v0.3": Release(of("mistral", (4096, 32, 14336, 32, 8, 32768)), 7.248, 131072),
    "Mixtral-8x7B": Release(
        of("mixtral", (4096, 32, 14336, 32, 8, 32000), num_local_experts=8, num_experts_per_tok=2), 46.70, 131072
    ),
    "Qwen2.5-7B": Release(of("qwen2", (3584, 28, 18944, 28, 4, 152064)), 7.616, 57344),
    "Qwen1.5-MoE-A2.7B": Release(
        of("qwen2_moe", (2048, 24, 5632, 16, 16, 151936), num_experts=60, num_experts_per_tok=4,
           moe_intermediate_size=1408, shared_expert_intermediate_size=5632), 14.32, 196608
    ),
    "Qwen3-8B": Release(of("qwen3", (4096, 36, 12288, 32, 8, 151936), head_dim=128), 8.191, 147456),
    "Qwen3-30B-A3B": Release(
        of("qwen3_moe", (2048, 48, 6144, 32, 4, 151936), head_dim=128, num_experts=128, num_experts_per_tok=8,
           moe_intermediate_size=768, decoder_sparse_step=1, mlp_only_layers=[], norm_topk_prob=True), 30.53, 98304
    ),
    "Qwen3-Next-80B-A3B": Release(
        of("qwen3_next", (2048, 48, 5120, 16, 2, 151936), **DELTA, num_experts=512, num_experts_per_tok=10,
           moe_intermediate_size=512, shared_expert_intermediate_size=512, decoder_sparse_step=1, mlp_only_layers=[],
           norm_topk_prob=True), 79.67, 24576
    ),
    "gemma-2-9b": Release(
        of("gemma2", (3584, 42, 14336, 16, 8, 256000), head_dim=256, tie_word_embeddings=True), 9.242, 344064
    ),
    "gemma-3-1b": Release(
        of("gemma3_text", (1152, 26, 6912, 4, 1, 262144), head_dim=256, sliding_window=512, sliding_window_pattern=6,
           tie_word_embeddings=True), 1.000, 4096
    ),
    "Phi-3-mini": Release(of("phi3", (3072, 32, 8192, 32, 32, 32064)), 3.821, 393216),
    "Phi-3.5-MoE": Release(
        of("phimoe", (4096, 32, 6400, 32, 8, 32064), num_local_experts=16, num_experts_per_tok=2,
           original_max_position_embeddings=4096, rope_scaling={
               "type": "longrope", "short_factor": [1.0] * 64, "long_factor": [1.0] * 64, "short_mscale": 1.0,
               "long_mscale": 1.0, "original_max_position_embeddings": 4096}), 41.87, 131072
    ),
    "gpt-oss-20b": Release(
        of("gpt_oss", (2880, 24, 2880, 64, 8, 201088), head_dim=64, num_local_experts=32, num_experts_per_tok=4,
           sliding_window=128, rope_scaling={"rope_type": "yarn", "factor": 32.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                             "original_max_position_embeddings": 4096}), 20.91, 24576
    ),
    "DeepSeek-V3": Release(
        of("deepseek_v3", (7168, 61, 18432, 128, 128, 129280), **_DEEPSEEK, n_routed_experts=256, n_group=8,
           topk_group=4, first_k_dense_replace=3), 671.0, 70272
    ),
    "Kimi-K2": Release(
        of("kimi_k2", (7168, 61, 18432, 64, 64, 163840), **{**_DEEPSEEK, "routed_scaling_factor": 2.827},
           n_routed_experts=384, n_group=1, topk_group=1, first_k_dense_replace=1), 1026.0, 70272
    ),
    "DeepSeek-V2-Lite": Release(
        of("deepseek_v2", (2048, 27, 10944, 16, 16, 102400), kv_lora_rank=512, q_lora_rank=None, qk_rope_head_dim=64,
           qk_nope_head_dim=128, v_head_dim=128, moe_intermediate_size=1408, n_shared_experts=2, n_routed_experts=64,
           num_experts_per_tok=6, first_k_dense_replace=1, rope_scaling=_DEEPSEEK["rope_scaling"]), 15.71, 276480
    ),
    "GLM-4-9B-0414": Release(
        of("glm4", (4096, 40, 13696, 32, 2, 151552), head_dim=128, partial_rotary_factor=0.5, attention_bias=True),
        9.400, 40960
    ),
    "GLM-4.5-Air": Release(
        of("glm4_moe", (4096, 46, 10944, 96, 8, 151552), head_dim=128, partial_rotary_factor=0.5, attention_bias=True,
           moe_intermediate_size=1408, n_routed_experts=128, n_shared_experts=1, num_experts_per_tok=8,
           first_k_dense_replace=1, n_group=1, topk_group=1, routed_scaling_factor=1.0, norm_topk_prob=True,
           use_qk_norm=False, rope_scaling=None), 106.85, 188416
    ),
    "SmolLM3-3B": Release(of("smollm3", (2048, 36, 11008, 16, 4, 128256), tie_word_embeddings=True), 3.075, 73728),
    "OLMo-2-7B": Release(of("olmo2", (4096, 32, 11008, 32, 32, 100352)), 7.299, 524288),
    "granite-3.3-8b": Release(
        of("granite", (4096, 40, 12800, 32, 8, 49159), tie_word_embeddings=True, logits_scaling=16.0,
           attention_multiplier=0.0078125, embedding_multiplier=12.0, residual_multiplier=0.22, attention_bias=False,
           mlp_bias=False), 8.171, 163840
    ),
    "Command-R7B": Release(
        of("cohere2", (4096, 32, 14336, 32, 8, 256000), head_dim=128, sliding_window=4096, sliding_window_pattern=4,
           layer_norm_eps=1e-5, logit_scale=0.25, tie_word_embeddings=True), 8.028, 32768
    ),
    "EXAONE-4.0-32B": Release(
        of("exaone4", (5120, 64, 27392, 40, 8, 102400), head_dim=128, sliding_window=4096,
           sliding_window_pattern="LLLG", rope_scaling={"rope_type": "default"}), 32.00, 65536
    ),
    "ERNIE-4.5-0.3B": Release(
        of("ernie4_5", (1024, 18, 3072, 16, 2, 103424), head_dim=128, use_bias=False, tie_word_embeddings=True),
        0.361, 18432
    ),
    "Hunyuan-7B": Release(
        of("hunyuan_v1_dense", (4096, 32, 14336, 32, 8, 128167), head_dim=128, tie_word_embeddings=True,
           use_qk_norm=True, attention_bias=False,
           rope_scaling={"type": "dynamic", "alpha": 1000.0, "factor": 1.0}), 7.505, 131072
    ),
    "Seed-OSS-36B": Release(
        of("seed_oss", (5120, 64, 27648, 80, 8, 155136), head_dim=128, attention_bias=True), 36.15, 262144
    ),
    "starcoder2-3b": Release(
        of("starcoder2", (3072, 30, 12288, 24, 2, 49152), norm_epsilon=1e-5, tie_word_embeddings=True), 3.030, 30720
    ),
    "LFM2-1.2B": Release(
        of("lfm2", (2048, 16, 12288, 32, 8, 65536), norm_eps=1e-5, conv_bias=False, conv_L_cache=3, block_dim=2048,
           block_ff_dim=12288, block_multiple_of=256, block_ffn_dim_multiplier=1.0, block_auto_adjust_ff_dim=True,
           full_attn_idxs=[2, 5, 8, 10, 12, 14]), 1.170, 12288
    ),
    "mamba-2.8b": Release(
        {"model_type": "mamba", "vocab_size": 50280, "hidden_size": 2560, "intermediate_size": 5120, "state_size": 16,
         "num_hidden_layers": 64, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "time_step_rank": 160},
        2.768, 0
    ),
    "MiMo-7B": Release(
        of("mimo", (4096, 36, 11008, 32, 8, 151680), num_nextn_predict_layers=0), 7.610, 147456
    ),
    "MiniMax-M2": Release(
        of("minimax", (3072, 62, 1536, 48, 8, 200064), head_dim=128, num_local_experts=256, num_experts_per_tok=8,
           shared_intermediate_size=0, rotary_dim=64, use_qk_norm=True, scoring_func="sigmoid"), 228.7, 253952
    ),
}  # fmt: skip

RELEASES |= {
    "Llama-4-Scout": Release(
        {
            "model_type": "llama4",
            "text_config": of(
                "llama4_text",
                (5120, 48, 8192, 40, 8, 202048),
                head_dim=128,
                intermediate_size_mlp=16384,
                num_local_experts=16,
                num_experts_per_tok=1,
                interleave_moe_layer_step=1,
                attention_chunk_size=8192,
                use_qk_norm=True,
                attn_temperature_tuning=True,
                floor_scale=8192,
                attn_scale=0.1,
                attention_bias=False,
                rope_scaling=None,
            ),
        },
        107.77,
        49152,
    ),
    "Granite-4.0-H-Tiny": Release(
        of(
            "granitemoehybrid",
            (1536, 40, 512, 12, 4, 100352),
            tie_word_embeddings=True,
            num_local_experts=64,
            num_experts_per_tok=6,
            shared_intermediate_size=1024,
            mamba_n_heads=48,
            mamba_d_head=64,
            mamba_n_groups=1,
            mamba_d_state=128,
            mamba_d_conv=4,
            mamba_proj_bias=False,
            mamba_conv_bias=True,
            layer_types=["attention" if i in (5, 15, 25, 35) else "mamba" for i in range(40)],
            attention_bias=False,
            embedding_multiplier=12.0,
            attention_multiplier=0.0078125,
            logits_scaling=6.0,
            residual_multiplier=0.22,
            position_embedding_type="nope",
        ),
        6.939,
        8192,
    ),
    "Nemotron-Nano-9B-v2": Release(
        {
            "model_type": "nemotron_h",
            "vocab_size": 131072,
            "hidden_size": 4480,
            "intermediate_size": 15680,
            "num_attention_heads": 40,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "mamba_num_heads": 128,
            "mamba_head_dim": 80,
            "ssm_state_size": 128,
            "conv_kernel": 4,
            "n_groups": 8,
            "mamba_proj_bias": False,
            "use_conv_bias": True,
            "use_bias": False,
            "attention_bias": False,
            "mlp_bias": False,
            "layer_norm_epsilon": 1e-5,
            "max_position_embeddings": 131072,
            "num_hidden_layers": 56,
            "hybrid_override_pattern": "M-M-M-MM-M-M-M*-M-M-M*-M-M-M-M*-M-M-M-M*-M-MM-M-M-M-M-M-",
            "time_step_limit": [0.0, float("inf")],
            "tie_word_embeddings": False,
            "mlp_hidden_act": "relu2",
        },
        8.889,
        16384,
    ),
    "Jamba-1.5-Mini": Release(
        of(
            "jamba",
            (4096, 32, 14336, 32, 8, 65536),
            attn_layer_offset=4,
            attn_layer_period=8,
            expert_layer_offset=1,
            expert_layer_period=2,
            mamba_d_conv=4,
            mamba_d_state=16,
            mamba_expand=2,
            mamba_dt_rank=256,
            num_experts=16,
            num_experts_per_tok=2,
        ),
        51.57,
        16384,
    ),
    "mamba2-2.7b": Release(
        {
            "model_type": "mamba2",
            "vocab_size": 50288,
            "hidden_size": 2560,
            "num_heads": 80,
            "head_dim": 64,
            "intermediate_size": 5120,
            "state_size": 128,
            "num_hidden_layers": 64,
            "conv_kernel": 4,
            "n_groups": 1,
            "use_bias": False,
            "use_conv_bias": True,
            "layer_norm_epsilon": 1e-5,
            "tie_word_embeddings": True,
            "time_step_limit": [0.0, float("inf")],
            "time_step_rank": 160,
        },
        2.703,
        0,
    ),
    "ERNIE-4.5-21B-A3B": Release(
        of(
            "ernie4_5_moe",
            (2560, 28, 12288, 20, 4, 103424),
            head_dim=128,
            use_bias=False,
            tie_word_embeddings=True,
            moe_num_experts=64,
            moe_k=6,
            moe_num_shared_experts=2,
            moe_layer_start_index=1,
            moe_layer_end_index=27,
            moe_layer_interval=1,
            moe_intermediate_size=1536,
        ),
        21.83,
        57344,
    ),
    "starcoder2-7b": Release(
        of("starcoder2", (4608, 32, 18432, 36, 4, 49152), norm_epsilon=1e-5, tie_word_embeddings=True), 7.174, 65536
    ),
    "stablelm-2-1.6b": Release(
        of(
            "stablelm",
            (2048, 24, 5632, 32, 32, 100352),
            use_qkv_bias=True,
            partial_rotary_factor=0.25,
            layer_norm_eps=1e-5,
        ),
        1.644,
        196608,
    ),
    "phi-2": Release(
        of("phi", (2560, 32, 10240, 32, 32, 51200), partial_rotary_factor=0.4, layer_norm_eps=1e-5), 2.780, 327680
    ),
    "internlm3-8b": Release(
        of("internlm3", (4096, 48, 10240, 32, 2, 128512), head_dim=128, bias=False, qkv_bias=False), 8.804, 49152
    ),
    "LFM2-8B-A1B": Release(
        of(
            "lfm2_moe",
            (2048, 24, 7168, 32, 8, 65536),
            norm_eps=1e-5,
            conv_bias=False,
            conv_L_cache=3,
            moe_intermediate_size=1792,
            num_experts=32,
            num_experts_per_tok=4,
            num_dense_layers=2,
            use_expert_bias=True,
            norm_topk_prob=True,
            layer_types=["full_attention" if i in (2, 6, 10, 14, 18, 21) else "conv" for i in range(24)],
        ),
        8.34,
        12288,
    ),
    "DeepSeek-V3.2": Release(
        of(
            "deepseek_v32",
            (7168, 61, 18432, 128, 128, 129280),
            **_DEEPSEEK,
            n_routed_experts=256,
            n_group=8,
            topk_group=4,
            first_k_dense_replace=3,
            index_head_dim=128,
            index_n_heads=64,
            index_topk=2048,
        ),
        671.9,
        101504,
    ),
    "Olmo-3-7B": Release(
        of(
            "olmo3",
            (4096, 32, 11008, 32, 32, 100278),
            sliding_window=4096,
            layer_types=["sliding_attention", "sliding_attention", "sliding_attention", "full_attention"] * 8,
        ),
        7.298,
        131072,
    ),
}

RELEASES |= NEWER
