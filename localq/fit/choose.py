"""Which build of a model to take on a machine: every offer judged, one marked, the reason in one sentence.

The field guide followed: about 4 bits by default; 5 to 6 bits for reasoning and coding; FP8 on Hopper and later;
NVFP4 or MXFP4 where Blackwell multiplies them; quantisation-aware (QAT) builds at 4 bits and below; under 3 bits only
with QAT or codebooks, or when nothing else fits, and then it is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from localq.errors import UnsupportedError
from localq.fit.machines import Target
from localq.fit.memory import Need, Term, need_of
from localq.fit.plans import Config
from localq.fit.quality import Quality, published
from localq.labels.label import Label

TASKS = ("general", "reasoning", "coding")
_WANTED = {"general": (4, 5), "reasoning": (5, 7), "coding": (5, 7)}  # bits of a weight, scales not counted
_LEAST = 3.0  # below it only QAT and codebooks keep a model whole
_CODEBOOKS = ("aqlm", "quip", "exl3", "vptq", "qtip")


class Offer(NamedTuple):
    """One build of a model.

    Attributes:
        ref: what to type: `org/name`, `org/name:LABEL` or a path.
        label: its name, read.
        nbytes: of its weights.
        here: already on this machine.
        downloads: of its repository, 0 where unknown.
    """

    ref: str
    label: Label
    nbytes: int
    here: bool = False
    downloads: int = 0


class Candidate(NamedTuple):
    """An offer on a machine: what it needs there, real bits per weight (None if the size of the model is unknown)."""

    offer: Offer
    need: Need
    bits: float | None
    fits: bool
    quality: Quality | None
    engine: str


class Choice(NamedTuple):
    """All candidates, smallest first; the one to take (None if none fits) and why."""

    candidates: list[Candidate]
    best: Candidate | None
    reason: str


def choose(
    offers: Sequence[Offer], config: Config, target: Target, context: int, kv: str | None = None, task: str = "general"
) -> Choice:
    """Judge every offer on `target` with room for `context` tokens, and mark one.

    Args:
        offers: builds of one model.
        config: of that model, for its caches.
        target: the machine.
        context: tokens.
        kv: storage of keys and values.
        task: one of TASKS.

    Raises:
        UnsupportedError: no offers, or an architecture whose caches are not known.
        CheckpointError, UsageError: as `need_of`.
    """
    if not offers:
        raise UnsupportedError("There is no build of this model to choose from.", "Name another model.")
    found = sorted((_candidate(o, config, target, context, kv) for o in offers), key=lambda c: c.offer.nbytes)
    best, reason = _best([c for c in found if c.fits], target, task)
    if best is None:
        short = found[0].need.total - target.limit
        reason = f"Nothing fits {target.name}: the smallest build needs {short / 1e9:.1f} GB more."
    return Choice(found, best, reason)


def _candidate(offer: Offer, config: Config, target: Target, context: int, kv: str | None) -> Candidate:
    term = Term("weights", offer.nbytes, "bytes of its files")
    needed = need_of(config, term, context, kv, target.device)
    label = offer.label
    bits = 8 * offer.nbytes / label.parameters if label.parameters else None
    quality = published(label.scheme, label.imatrix)
    return Candidate(offer, needed, bits, needed.total <= target.limit, quality, _engine(label, target))


def _engine(label: Label, target: Target) -> str:
    """Who runs it on this kind of machine."""
    if label.container in ("exl2", "exl3") and target.device != "cuda":
        return "localq (mlx), decoding as it goes" if label.container == "exl3" else "none here (needs CUDA)"
    if label.container == "gguf":
        return "llama.cpp" if target.device == "cpu" else "localq (mlx) or llama.cpp"
    return "localq (mlx)" if target.device != "cuda" or label.container == "mlx" else "localq (mlx), vLLM or SGLang"


def bits_of(candidate: Candidate) -> float:
    """Bits of a weight by its name, else by its size (a tenth of that is scales), else 16: then nothing is packed."""
    named = candidate.offer.label.weight_bits
    if named:
        return float(named)
    return 0.9 * candidate.bits if candidate.bits is not None and candidate.bits < 15 else 16.0


def is_trained_low(label: Label) -> bool:
    """Made for few bits: quantisation-aware training, or a codebook method."""
    return label.method in ("qat", "bitnet", *_CODEBOOKS)


def _best(fitting: list[Candidate], target: Target, task: str) -> tuple[Candidate | None, str]:
    if not fitting:
        return None, ""
    native = _native(fitting, target)
    if native is not None:
        return native
    low, high = _WANTED[task]
    bits = "4 bits" if task == "general" else "5 to 6 bits"
    inside = [c for c in fitting if low <= bits_of(c) < high]
    trained = [c for c in inside if c.offer.label.method == "qat"]
    if trained:
        return _finest(trained), f"A quantisation-aware build at {bits}: trained for the bits it is stored in."
    if inside:
        return _finest(inside), f"{bits} keep nearly all quality{_purpose(task)}; this is the best of those that fit."
    above = [c for c in fitting if bits_of(c) >= high]
    if above:
        return min(above, key=bits_of), f"No build of {bits} fits or exists; this is the next larger one that fits."
    safe = [c for c in fitting if bits_of(c) >= _LEAST or is_trained_low(c.offer.label)]
    if safe:
        return _finest(safe), f"Nothing of {bits} fits; this is the best that does, still above {_LEAST:g} bits."
    return _finest(fitting), (
        f"Only builds under {_LEAST:g} bits fit: expect clear damage. A smaller model at 4 bits is usually better."
    )


def _purpose(task: str) -> str:
    return "" if task == "general" else f", which {task} needs"


def _finest(candidates: list[Candidate]) -> Candidate:
    """Lowest published divergence where all have one, else most bits; then already here, then most downloaded."""
    measured = all(c.quality for c in candidates)

    def key(c: Candidate) -> tuple[float, bool, int]:
        quality = c.quality.kld if measured and c.quality else -(c.bits or bits_of(c))
        return quality, not c.offer.here, -c.offer.downloads

    return min(candidates, key=key)


def _native(fitting: list[Candidate], target: Target) -> tuple[Candidate, str] | None:
    """What the GPU's own arithmetic favours."""
    if re.search(r"RTX 50\d\d|GB10|GB200|B200|PRO 6000", target.chip):
        four = [c for c in fitting if c.offer.label.block_structure in ("nv", "mx")]
        if four:
            return _finest(four), "Blackwell multiplies FP4 itself: NVFP4 or MXFP4 is its fastest format."
    if re.search(r"H100|H200|GH200", target.chip):
        eight = [c for c in fitting if (c.offer.label.scheme or "").upper().startswith("FP8")]
        if eight:
            return _finest(eight), "Hopper multiplies FP8 itself, nearly without loss; store the KV cache in FP8 too."
    return None
