"""The words of model names: families, organisations, variants, methods, containers, and words without a field."""

from __future__ import annotations

# Lower case without separators -> as their makers write them. A version may follow, attached or not (Qwen3, gemma-3).
FAMILIES = {
    name.lower().replace("-", "").replace(" ", ""): name
    for name in (
        "Qwen QwQ QVQ Llama CodeLlama TinyLlama OpenLLaMA Mistral Mixtral Ministral Devstral Magistral Codestral "
        "Pixtral Voxtral Mathstral Gemma CodeGemma MedGemma ShieldGemma PaliGemma RecurrentGemma TranslateGemma "
        "FunctionGemma EmbeddingGemma DiffusionGemma T5Gemma Phi DeepSeek  Janus GLM "
        "ChatGLM CodeGeeX Kimi Moonlight MiniMax gpt-oss GPT-2 GPT-J GPT-NeoX SmolLM SmolVLM OLMo OLMoE Tulu "
        "Molmo Granite Falcon Yi InternLM InternVL EXAONE ERNIE Hunyuan Nemotron Minitron Command-R Command-A Aya "
        "Jamba Mamba RWKV StarCoder SantaCoder StableLM StableCode Vicuna Alpaca Guanaco Koala Zephyr Hermes "
        "OpenHermes Dolphin Samantha WizardLM WizardCoder WizardMath Wizard-Vicuna Orca OpenOrca OpenChat Platypus "
        "SOLAR Baichuan MiniCPM BLOOM BLOOMZ OPT Pythia MPT DBRX Arctic BitNet Seed-OSS LFM Ling Ring Apertus "
        "EuroLLM Teuken Salamandra Skywork TeleChat Step MiMo LongCat Grok Cogito Aquila XVERSE Deci Starling "
        "Neural-Chat Airoboros Nous-Hermes Capybara Goliath Miqu MythoMax MythoMist Noromaid Euryale Stheno "
        "Lumimaid Rocinante Cydonia Behemoth Magnum Fimbulvetr Psyfighter Xwin TigerBot Orion Bagel Jan Apriel "
        "Reka Trinity Afmoe AFM Bielik PLLuM Sarvam Airavata Sailor SeaLLM SEA-LION Typhoon OpenThinker "
        "OpenCodeReasoner AceReason AceMath DeepCoder DeepScaleR DeepHermes Skyfall Anubis Valkyrie "
        "Dans-PersonalityEngine Snowpiercer Gemmasutra Moistral Llava BakLLaVA Moondream Idefics Florence Ovis "
        "MiniGPT CogVLM nomic-embed BGE GTE E5 mxbai Jina Whisper Parakeet Orpheus Kokoro T5 FLAN-T5 UMT5 BERT "
        "RoBERTa ModernBERT Persimmon Fuyu OpenELM AutoCoder CodeQwen CodeNinja NexusRaven Gorilla Functionary "
        "xLAM Nanbeige Zamba Maincoder Plamo Swallow ELYZA Rakuten Youtu Arcee Virtuoso SuperNova Intellect "
        "NextCoder Mellum KAT Tongyi GUI-Owl UI-TARS Marco Llasa "
    ).split()
}
FAMILIES |= {"ax": "A.X", "metallama": "Llama", "commandr7b": "Command-R7B", "c4aicommandr": "Command-R"}

# Versions that are no plain numbers.
NAMED_VERSIONS = {
    "DeepSeek": ("r1", "r2"),
    "Kimi": ("k2", "k2.5", "k2.6", "k3"),
    "MiniMax": ("m1", "m2", "m2.1", "m2.5", "m3"),
    "Falcon": ("h1", "h1r"),
    "Gemma": ("3n",),
}

# Makers that file names and some repositories put before the family; said, but the organisation is who publishes.
MAKERS = frozenset(
    "meta google mistralai nvidia microsoft deepseekai zai zaiorg thudm moonshotai openai tencent baidu nousresearch "
    "thedrummer ai21 ai21labs lgaiexaone lgai coherelabs cohereforai c4ai ibm allenai huggingfacetb facebook stepfun "
    "bytedance bytedanceseed inclusionai liquidai arceeai primeintellect servicenow opengvlab openbmb swissai agentica "
    "cognitivecomputations eva unsloth ggml huihui tiiuae stabilityai nvidias soob3123 mlabonne sao10k anthracite "
    "bartowski thebloke intel amd redhatai neuralmagic lmstudio xiaomimimo kwaipilot rekaai jetbrains openthoughts "
    "deepseekai".split()
)

VARIANTS = {
    "instruct": "instruct", "it": "instruct", "inst": "instruct", "instruction": "instruct", "chat": "chat",
    "base": "base", "pretrained": "base", "coder": "coder", "code": "coder", "thinking": "thinking",
    "think": "thinking", "thinker": "thinking",
    "reasoning": "reasoning", "reasoner": "reasoning", "math": "math", "embedding": "embedding", "embed": "embedding",
    "reranker": "reranker", "guard": "guard", "safeguard": "guard",
}  # fmt: skip

METHODS = {
    "awq": "awq", "autoawq": "awq", "gptq": "gptq", "autogptq": "gptq", "gptqmodel": "gptq", "gptqv2": "gptq",
    "autoround": "autoround", "hqq": "hqq", "bnb": "bnb", "bitsandbytes": "bnb", "aqlm": "aqlm", "quip": "quip",
    "qtip": "qtip", "vptq": "vptq", "qat": "qat", "dwq": "dwq", "modelopt": "modelopt", "smoothquant": "smoothquant",
    "spinquant": "spinquant", "sinq": "sinq", "torchao": "torchao", "quanto": "quanto", "eetq": "eetq",
    "higgs": "higgs", "bitnet": "bitnet", "quark": "quark", "spqr": "spqr", "paroquant": "paroquant",
    "compressedtensors": "compressed-tensors", "ct": "compressed-tensors", "e8p": "quip", "efficientqat": "qat",
    "fpquant": "fp_quant",
}  # fmt: skip

CONTAINERS = {
    "gguf": "gguf", "ggufs": "gguf", "mlx": "mlx", "exl2": "exl2", "exl3": "exl3", "exllamav2": "exl2",
    "exllamav3": "exl3", "ggml": "ggml", "ggmlv3": "ggml", "onnx": "onnx", "openvino": "openvino",
    "ov": "openvino", "mlc": "mlc",
    "litert": "litert", "tflite": "litert", "coreml": "coreml", "mnn": "mnn", "rkllm": "rkllm",
    "executorch": "executorch", "safetensors": "safetensors",
}  # fmt: skip

# Organisations whose repositories are all of one kind.
HOUSE_CONTAINERS = {"mlx-community": "mlx", "litert-community": "litert", "onnx-community": "onnx"}
HOUSE_METHODS = {"vptq-community": "vptq"}

# Methods whose codes have one kind of value, whatever else the name says.
METHOD_FORMATS = {
    "gptq": "int", "awq": "int", "hqq": "int", "aqlm": "codebook", "vptq": "codebook", "quip": "codebook",
    "qtip": "codebook", "higgs": "codebook", "bitnet": "ternary",
}  # fmt: skip

# Words that mean something but have no field: said by `explain`, not listed as unknown.
PLAIN = {
    "vl": "it sees images", "vision": "it sees images", "omni": "it takes and gives several media",
    "audio": "it hears", "multimodal": "it takes several media", "mm": "it takes several media",
    "text": "text only", "only": "text only", "mmproj": "the vision or audio half of a model, for llama.cpp",
    "mtp": "holds layers that predict further tokens, for faster decoding",
    "draft": "a small helper for speculative decoding", "eagle": "a helper for speculative decoding",
    "eagle3": "a helper for speculative decoding", "dflash": "a helper for speculative decoding",
    "speculator": "a helper for speculative decoding",
    "mini": "a smaller line of the family", "small": "a smaller line of the family",
    "medium": "a middle line of the family", "large": "a larger line of the family",
    "nano": "a small line of the family", "tiny": "a small line of the family", "micro": "a small line of the family",
    "super": "a line of the family", "ultra": "a line of the family", "pro": "a line of the family",
    "plus": "a line of the family", "max": "a line of the family", "air": "a lighter line of the family",
    "flash": "a faster line of the family", "turbo": "a faster line of the family", "lite": "a lighter line",
    "next": "a line of the family", "scout": "a line of Llama 4", "maverick": "a line of Llama 4",
    "nemo": "a line of Mistral", "preview": "not final", "exp": "experimental", "experimental": "experimental",
    "beta": "not final", "alpha": "not final", "rc": "not final", "hf": "in the layout of transformers",
    "distill": "trained on another model's answers", "distilled": "trained on another model's answers",
    "moe": "a mixture of experts", "dense": "no mixture of experts", "mixed": "several packings in one model",
    "mix": "several packings in one model", "abliterated": "refusals removed", "uncensored": "refusals removed",
    "heretic": "refusals removed", "derestricted": "refusals removed", "dpo": "tuned on preferences",
    "sft": "tuned on examples", "rl": "tuned by reinforcement", "rlhf": "tuned on preferences",
    "kto": "tuned on preferences", "orpo": "tuned on preferences", "simpo": "tuned on preferences",
    "grpo": "tuned by reinforcement", "lora": "an adapter, or merged from one", "merged": "merged from several",
    "merge": "merged from several", "slerp": "merged from several", "quantized": "quantised",
    "quantised": "quantised", "quant": "quantised", "quants": "quantised", "prequantized": "quantised",
    "sym": "symmetric: no zero point", "asym": "asymmetric: a zero point per group",
    "actorder": "columns quantised by importance", "act": "columns quantised by importance",
    "order": "columns quantised by importance", "true": "on", "false": "off", "desc": "columns by importance",
    "gemm": "AutoAWQ's usual packing", "gemv": "an AutoAWQ packing for one token at a time",
    "marlin": "packed for vLLM's Marlin kernel", "calib": "calibrated", "static": "fixed activation scales",
    "dynamic": "activation scales found while running", "sharded": "in several files", "split": "in several files",
    "fixed": "repaired", "tuned": "fine-tuned", "finetuned": "fine-tuned", "finetune": "fine-tuned",
    "ft": "fine-tuned", "english": "a language", "chinese": "a language", "japanese": "a language",
    "multilingual": "several languages", "roleplay": "a use", "rp": "a use", "creative": "a use",
    "writing": "a use", "tool": "a use", "tools": "a use", "use": "a use", "agent": "a use", "medical": "a field",
    "emb": "the embedding table", "embeddings": "the embedding table", "embd": "the embedding table",
    "head": "the output head", "output": "the output head", "unquantized": "full precision, ready to be quantised",
    "latest": "a tag", "model": "the model itself", "weights": "the model itself", "ggmlorg": "a maker",
    "unsloth": "packed by Unsloth", "nonuniform": "bits differ between layers", "channel": "a scale per channel",
    "block": "a scale per block", "tensor": "a scale per tensor", "group": "a scale per group",
    "router": "the part that chooses experts", "experts": "the experts", "mobile": "for phones",
    "long": "a long context", "context": "a context", "ctx": "a context", "pure": "one format for all tensors",
    "ocr": "it reads text in images", "h": "a hybrid line: attention and state-space layers",
    "smol": "smaller than the recipe of that name", "attn": "attention", "tokens": "trained on that many",
    "reap": "experts pruned", "vocab": "a vocabulary without weights",
    "bpe": "a kind of tokenizer", "python": "trained for Python", "qlora": "tuned through adapters on 4-bit weights",
    "rtn": "rounded to nearest", "bin": "a file of weights", "dat": "a file of data",
    "1g": "one scale per row", "inc": "made with Intel's Neural Compressor",
    "pv": "tuned after quantising", "agentic": "a use", "rag": "a use",
    "terminus": "a named release", "linear": "linear attention", "light": "a lighter line", "lm": "a language model",
    "paddle": "in Paddle's layout", "consolidated": "as its maker wrote it", "pth": "a file of weights",
    "eo8": "embeddings and output in 8 bits",
    "and": "and", "with": "with", "for": "for", "from": "from", "the": "the",
}  # fmt: skip
