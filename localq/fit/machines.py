"""Memory a model may use: this machine's, or that of `--memory 24GB` and `--machine "M4 Pro 48GB"`."""

from __future__ import annotations

import re
from typing import NamedTuple

from localq.errors import UsageError
from localq.hardware import CHIPS, Bandwidth, Chip, find_chip, machine, working_set_limit

GIB = 1 << 30
# Memory of a card, in GiB, where every one sold under the name has the same (vendors' pages; hardware/chips.py).
_CARDS = {
    "rtx 3070": 8, "rtx 3070 ti": 8, "rtx 3080 ti": 12, "rtx 3090": 24, "rtx 3090 ti": 24, "rtx 4060": 8,
    "rtx 4070": 12, "rtx 4070 super": 12, "rtx 4070 ti": 12, "rtx 4070 ti super": 16, "rtx 4080": 16,
    "rtx 4080 super": 16, "rtx 4090": 24, "rtx 5070": 12, "rtx 5070 ti": 16, "rtx 5080": 16, "rtx 5090": 32,
    "h100 80gb hbm3": 80, "h100 pcie": 80, "h200": 141, "h200 nvl": 141, "gb10": 128,
}  # fmt: skip


class Target(NamedTuple):
    """Where a model would run.

    Attributes:
        name: in words.
        device: "cpu", "metal" or "cuda".
        limit: bytes one model may take (all GPUs together).
        memory: bytes of the machine, or of all its GPUs.
        bandwidth: of the memory the weights lie in, of one GPU.
        chip: its name in the table of chips, "" where unknown.
        gpus: number of GPUs.
        note: what to know about the limit (how a Mac's may be raised).
    """

    name: str
    device: str
    limit: int
    memory: int
    bandwidth: Bandwidth
    chip: str = ""
    gpus: int = 1
    note: str = ""


def parse_size(text: str) -> int:
    """Bytes of "24GB", "24 GiB", "24g", "512MB". As machines are sold, GB counts 2**30.

    Raises:
        UsageError: no such size.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([gmt])(?:i?b)?\s*", text, re.I)
    if not found or not float(found[1]):
        raise UsageError(f"'{text}' is no memory size.", "Write it like 24GB.")
    return round(float(found[1]) * {"m": 1 << 20, "g": GIB, "t": 1 << 40}[found[2].lower()])


def this_machine() -> Target:
    """Where models run here: the GPU's memory, else what the system can give now."""
    found = machine()
    if found.system.startswith("Darwin"):
        note = _mac_note(found.memory, found.gpu_memory)
        return Target(
            f"this {found.chip}", "metal", found.gpu_memory, found.memory, found.bandwidth, found.chip, 1, note
        )
    if found.gpu:
        return Target(
            f"this machine's {found.gpu}", "cuda", found.gpu_memory, found.gpu_memory, found.bandwidth, found.gpu
        )
    return Target(f"this machine ({found.chip or 'CPU'})", "cpu", found.available, found.memory, found.bandwidth)


def named_machine(text: str) -> Target:
    """A machine by name and size: "M4 Pro 48GB", "RTX 4090", "2x RTX 3090".

    Raises:
        UsageError: an unknown chip, or one sold in several sizes without the size.
    """
    count, rest = re.fullmatch(r"\s*(?:(\d{1,2})\s*x\s+)?(.*?)\s*", text, re.I).groups()  # type: ignore[union-attr]
    gpus = int(count or 1)
    sized = re.fullmatch(r"(.*?)[\s,]+(\d+)\s*g(?:i?b)?", rest, re.I)
    name, given = (sized[1], int(sized[2])) if sized else (rest, 0)
    if gpus < 1:
        raise UsageError("'--machine' names no GPU.", 'Write it like --machine "2x RTX 4090".')
    if re.match(r"(apple\s+)?m\d", name, re.I):
        return _mac(name, given, gpus)
    key = " ".join(name.lower().replace("nvidia", "").replace("geforce", "").split())
    memory = given or _CARDS.get(key, 0)
    row = find_chip(name, memory)
    if row is None or not memory:
        raise _unknown(name, given)
    total = gpus * memory * GIB
    what = f"{gpus} x {row.name}" if gpus > 1 else row.name
    return Target(
        f"{what} ({memory} GB{' each' if gpus > 1 else ''})",
        "cuda",
        total,
        total,
        Bandwidth(row.bandwidth, "table", row.source),
        row.name,
        gpus,
    )


def sized(text: str) -> Target:
    """So much memory on a GPU nobody named: `--memory 24GB`."""
    nbytes = parse_size(text)
    return Target(f"{text.strip()} of GPU memory", "cuda", nbytes, nbytes, Bandwidth(None, "unknown", "no chip named"))


def _mac(name: str, gigabytes: int, count: int) -> Target:
    if count > 1:
        raise UsageError("localq runs a model on one Mac.", "Leave out the number of machines.")
    row = find_chip(name, gigabytes) or _slowest_bin(name, gigabytes)
    if row is None:
        raise _unknown(name, gigabytes)
    if not gigabytes:
        raise UsageError(f"'{name}' is sold with several memory sizes.", f'Write --machine "{name} 32GB".')
    memory = gigabytes * GIB
    limit, how = working_set_limit(memory, 0)
    return Target(
        f"{row.name}, {gigabytes} GB ({how})",
        "metal",
        limit,
        memory,
        Bandwidth(row.bandwidth, "table", row.source),
        row.name,
        1,
        _mac_note(memory, limit),
    )


def _slowest_bin(name: str, memory: int) -> Chip | None:
    """Of a chip sold with more and fewer GPU cores the slower one, where memory does not tell them apart."""
    words = name.lower().replace("apple", "").split()
    rows = [c for c in CHIPS if c.name.lower().replace("apple", "").split() == words]
    rows = [c for c in rows if not memory or c.memory_gb[0] <= memory <= c.memory_gb[1]]
    return min(rows, key=lambda c: c.bandwidth) if rows else None


def _mac_note(memory: int, limit: int) -> str:
    """How the GPU's share of a Mac's memory is raised; localq prints this and never runs it."""
    most = max(memory - max(8 * GIB, memory // 8), limit)
    return (
        f"macOS lets the GPU hold about {limit / GIB:.1f} of {memory / GIB:.0f} GiB; "
        f"`sudo sysctl iogpu.wired_limit_mb={most >> 20}` raises it until the next restart"
    )


def _unknown(name: str, memory: int) -> UsageError:
    import difflib

    known = sorted({c.name for c in CHIPS})
    same = [c for c in CHIPS if c.name.lower() == name.lower().strip()]
    if same:
        return UsageError(
            f"'{name}'{f' with {memory} GB' if memory else ''} is not one of the sizes it was sold in.",
            f'Write the size, like --machine "{name} 16GB", or give --memory.',
        )
    near = difflib.get_close_matches(name, known, 3, 0.4)
    hint = f"Near names: {', '.join(near)}." if near else f"Known are {known[0]} ... {known[-1]}."
    return UsageError(f"localq has no figures for a machine '{name}'.", f"{hint} Or give --memory 24GB.")
