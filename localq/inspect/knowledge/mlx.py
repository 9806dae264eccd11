"""MLX: safetensors with MLX's config. Sources: mlx/ops.cpp (quantize), mlx_lm/BENCHMARKS.md."""

from __future__ import annotations

from localq.inspect.knowledge.base import Card, Figure, Packing

BITS = (1, 2, 3, 4, 5, 6, 8)
GROUPS = (32, 64, 128)
_MMLU = {16: 64.05, 8: 63.85, 6: 63.53, 5: 62.38, 4: 60.72}  # Qwen3-4B, MMLU-Pro


def packing(bits: int, group: int) -> Packing:
    """Affine codes with a 16-bit scale and bias per group."""
    parts = ((group, bits, "codes"), (1, 16, "scale"), (1, 16, "bias"))
    return Packing(f"affine_{bits}bit_g{group}", group, group, False, parts)


def card(bits: float, group: int | None) -> Card | None:
    """MLX's affine mode of so many bits; a group of 64 where the name says none (mlx-lm's default)."""
    if not isinstance(bits, int):
        return Card(
            what=f"MLX's affine mode with bits mixed between tensors, {bits:g} on average: the config lists them",
            activations="16 bits",
            engines="mlx-lm, LM Studio and others on MLX, localq",
        )
    if bits not in BITS or (group is not None and group not in GROUPS):
        return None
    quality: tuple[Figure, ...] = ()
    if bits in _MMLU:
        words = f"Qwen3-4B on MMLU-Pro: {_MMLU[16]} in bf16, {_MMLU[bits]} in {bits} bits by rounding"
        quality = (Figure(words, "mlx-lm, BENCHMARKS.md"),)
    usual = "" if group else " (groups of 64, mlx-lm's default: the name gives none)"
    return Card(
        what=f"MLX's affine mode: whole numbers of {bits} bits times a scale plus a bias{usual}",
        packing=packing(bits, group or 64),
        mixture="embeddings and output head are packed too; mixed recipes exist, the config lists them",
        activations="16 bits",
        engines="mlx-lm, LM Studio and others on MLX, localq",
        made="mlx_lm.convert by rounding to nearest, in seconds; -DWQ and -AWQ builds are tuned for minutes to hours",
        quality=quality,
        who="Mac users: MLX's kernels read it as it is",
        instead="more bits for reasoning; a DWQ build of the same bits; a GGUF Q4_K_M for other machines",
    )


def mixed(recipe: str) -> Card:
    """mlx-lm's `mixed_A_B`: most matrices in A bits, the sensitive ones in B (mlx_lm/convert.py)."""
    _, low, high = recipe.split("_")
    return Card(
        what=f"MLX's affine mode in two widths: {low} bits, and {high} bits where rounding hurts most",
        mixture=f"{high} bits: the output head, and v_proj and down_proj of about half the layers; {low} elsewhere",
        activations="16 bits",
        engines="mlx-lm, LM Studio and others on MLX, localq",
        made="mlx_lm.convert by rounding to nearest, in seconds",
        who="Mac users who want a little more than the lower width gives",
        instead="a DWQ build of the same size: tuned, not only rounded",
    )
