"""Memory bandwidth of known chips, in GB/s (10**9 bytes), each row with the public page it was taken from.

A chip that is not here is measured or said to be unknown; nothing is guessed from its neighbours. Laptop GPUs
carry the desktop name with "Laptop GPU" behind it and have other memory: they match no desktop row.
"""

from typing import NamedTuple

_APPLE = "https://www.apple.com/newsroom/"
_LLAMA_APPLE = "https://github.com/ggml-org/llama.cpp/discussions/4167"
_LLAMA_CUDA = "https://github.com/ggml-org/llama.cpp/discussions/15013"
_M5 = _APPLE + "2025/10/apple-unleashes-m5-the-next-big-leap-in-ai-performance-for-apple-silicon/"
_M5_PRO = _APPLE + "2026/03/apple-debuts-m5-pro-and-m5-max-to-supercharge-the-most-demanding-pro-workflows/"
_M6 = _APPLE + "2026/08/apple-introduces-m6-and-m5-ultra-for-a-big-leap-in-performance-and-ai-compute/"
_GEFORCE = "https://github.com/CYBIRD-D/How-to-Choose-your-LLM-Model-for-translation (Nvidia_GPU_Specification.md)"
_BLACKWELL = "https://github.com/lamonoai/gpumap (nvidia/GPU.md)"
_A100 = "https://www.nvidia.com/en-us/data-center/a100/"
_H100 = "https://www.nvidia.com/en-us/data-center/h100/"
_H200 = "https://www.nvidia.com/en-us/data-center/h200/"


class Chip(NamedTuple):
    """One row. `gpu_cores` and `memory_gb` (inclusive range) narrow a name that was sold in several bins."""

    name: str
    bandwidth: float  # GB/s, the vendor's figure
    source: str
    gpu_cores: int = 0  # 0: any
    memory_gb: tuple[int, int] = (0, 1 << 20)


CHIPS: tuple[Chip, ...] = (
    Chip("Apple M1", 68, _LLAMA_APPLE),
    Chip("Apple M1 Pro", 200, _LLAMA_APPLE),
    Chip("Apple M1 Max", 400, _LLAMA_APPLE),
    Chip("Apple M1 Ultra", 800, _LLAMA_APPLE),
    Chip("Apple M2", 100, _LLAMA_APPLE),
    Chip("Apple M2 Pro", 200, _LLAMA_APPLE),
    Chip("Apple M2 Max", 400, _LLAMA_APPLE),
    Chip("Apple M2 Ultra", 800, _LLAMA_APPLE),
    Chip("Apple M3", 100, _LLAMA_APPLE),
    Chip("Apple M3 Pro", 150, _LLAMA_APPLE),
    Chip("Apple M3 Max", 300, _LLAMA_APPLE, gpu_cores=30),
    Chip("Apple M3 Max", 400, _LLAMA_APPLE, gpu_cores=40),
    Chip("Apple M3 Ultra", 819, _LLAMA_APPLE),
    Chip("Apple M4", 120, _LLAMA_APPLE),
    Chip("Apple M4 Pro", 273, _LLAMA_APPLE),
    Chip("Apple M4 Max", 410, _LLAMA_APPLE, gpu_cores=32),
    Chip("Apple M4 Max", 546, _LLAMA_APPLE, gpu_cores=40),
    Chip("Apple M5", 153, _M5),
    Chip("Apple M5 Pro", 307, _M5_PRO),
    Chip("Apple M5 Max", 460, _M5_PRO, gpu_cores=32),
    Chip("Apple M5 Max", 614, _M5_PRO, gpu_cores=40),
    Chip("Apple M5 Ultra", 1200, _M6),
    Chip("Apple M6", 153, _M6, memory_gb=(1, 20)),
    Chip("Apple M6", 170, _M6, memory_gb=(21, 64)),
    Chip("RTX 3060", 240, _GEFORCE, memory_gb=(7, 9)),
    Chip("RTX 3060", 360, _GEFORCE, memory_gb=(10, 13)),
    Chip("RTX 3070", 448, _GEFORCE),
    Chip("RTX 3070 Ti", 608, _GEFORCE),
    Chip("RTX 3080", 760, _GEFORCE, memory_gb=(8, 11)),
    Chip("RTX 3080", 912, _GEFORCE, memory_gb=(12, 13)),
    Chip("RTX 3080 Ti", 912, _GEFORCE),
    Chip("RTX 3090", 936, _GEFORCE),
    Chip("RTX 3090 Ti", 1008, _GEFORCE),
    Chip("RTX 4060", 272, _GEFORCE),
    Chip("RTX 4060 Ti", 288, _GEFORCE),
    Chip("RTX 4070", 504, _GEFORCE),
    Chip("RTX 4070 SUPER", 504, _GEFORCE),
    Chip("RTX 4070 Ti", 504, _GEFORCE),
    Chip("RTX 4070 Ti SUPER", 672, _GEFORCE),
    Chip("RTX 4080", 717, _GEFORCE),
    Chip("RTX 4080 SUPER", 736, _GEFORCE),
    Chip("RTX 4090", 1008, _LLAMA_CUDA),
    Chip("RTX 5060 Ti", 448, _LLAMA_CUDA),
    Chip("RTX 5070", 672, _BLACKWELL),
    Chip("RTX 5070 Ti", 896, _LLAMA_CUDA),
    Chip("RTX 5080", 960, _LLAMA_CUDA),
    Chip("RTX 5090", 1792, _LLAMA_CUDA),
    Chip("A100-PCIE-40GB", 1555, _A100),
    Chip("A100-SXM4-40GB", 1555, _A100),
    Chip("A100 80GB PCIe", 1935, _A100),
    Chip("A100-SXM4-80GB", 2039, _A100),
    Chip("H100 PCIe", 2000, _H100),
    Chip("H100 80GB HBM3", 3350, _H100),
    Chip("H200", 4800, _H200),
    Chip("H200 NVL", 4800, _H200),
    Chip("GB10", 273, _LLAMA_CUDA),
)


def find_chip(name: str, memory_gb: float = 0, gpu_cores: int = 0) -> Chip | None:
    """The one row for a chip as macOS or nvidia-smi names it, or None: unknown, or its bin cannot be told.

    `memory_gb` (0: not known) is unified or GPU memory; `gpu_cores` 0 when not known.
    """
    key = _key(name)
    rows = [c for c in CHIPS if _key(c.name) == key]
    if memory_gb:
        rows = [c for c in rows if c.memory_gb[0] <= round(memory_gb) <= c.memory_gb[1]]
    if gpu_cores:
        rows = [c for c in rows if c.gpu_cores in (0, gpu_cores)]
    return rows[0] if len(rows) == 1 else None


def _key(name: str) -> str:
    words = name.replace("-", " ").lower().split()
    return " ".join(w for w in words if w not in ("nvidia", "geforce", "apple"))
