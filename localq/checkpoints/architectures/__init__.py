"""How each architecture's GGUF file maps onto its Hugging Face names and config: one file each.

The folder is the registry: a file `qwen3_moe.py`-to-be is named after GGUF's `general.architecture` with `-` as `_`
(`gpt-oss` -> `gpt_oss.py`) and defines `ARCHITECTURE`; files with a leading underscore are shared pieces. Only the
file that is asked for is imported.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from localq.errors import UnsupportedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.checkpoints.keys import ModelKeys
    from localq.checkpoints.names import Source
    from localq.formats.base import PackedTensor

    Change = Callable[[PackedTensor], PackedTensor]
    SUPPORTED: dict[str, Architecture]


class Name(NamedTuple):
    """The Hugging Face side of one GGUF tensor.

    Attributes:
        hf: its name; `{i}` is the layer, `{e}` the expert where one stack becomes a matrix per expert.
        rule: what the converter did to the values, undone: gets the file's keys and the logical shape, gives the
            change applied on access.
        optional: a file without it is complete.
    """

    hf: str
    rule: Callable[[ModelKeys, tuple[int, ...]], Change] | None = None
    optional: bool = False


class Architecture(NamedTuple):
    """One architecture's entry.

    Attributes:
        model_type: Hugging Face `model_type`.
        names: GGUF name (with `{i}`) -> Hugging Face name, or `Name` where there is more to say.
        config: a Hugging Face style config from the keys.
        consumed: GGUF tensors that are no weights; `config` reads them (rope factors).
        with_experts: the entry that holds instead when the file counts experts.
        choose: picks among several entries where one GGUF name stands for more than one `model_type`.
        prepare: brings the file's tensors into the one form the table names (halves of one matrix joined).
        variants: further `model_type`s that `choose` may pick.
        checked: whose logits on the same file localq's were compared with in the tests.
    """

    model_type: str
    names: Mapping[str, str | Name]
    config: Callable[[ModelKeys], dict[str, Any]]
    consumed: tuple[str, ...] = ()
    with_experts: Architecture | None = None
    choose: Callable[[ModelKeys], Architecture] | None = None
    prepare: Callable[[ModelKeys, dict[str, Source]], None] | None = None
    variants: tuple[str, ...] = ()
    checked: str = "llama.cpp"


def supported() -> list[str]:
    """GGUF names of all architectures localq maps."""
    import os

    stems = (f[:-3] for f in os.listdir(__path__[0]) if f.endswith(".py") and not f.startswith("_"))
    return sorted(_DASHED.get(stem, stem) for stem in stems)


# File names that stand for a dash in GGUF's name
_DASHED = {
    name.replace("-", "_"): name
    for name in (
        *(
            "gpt-oss",
            "command-r",
            "minimax-m2",
            "ernie4_5-moe",
            "hunyuan-dense",
            "hunyuan-moe",
            "glm-dsa",
            "exaone-moe",
        ),
        *("falcon-h1", "kimi-linear", "muse-glimmer", "minimax-m3", "kimi-k3"),
    )
}


def find(keys: ModelKeys) -> Architecture:
    """The entry of a file's architecture.

    Raises:
        UnsupportedError: there is none; the message lists those there are.
    """
    if keys.architecture not in supported():
        from localq.checkpoints.architectures._absent import absent

        known = absent(keys.architecture)
        if known is not None:
            raise UnsupportedError(*known)
        raise UnsupportedError(
            f"The GGUF architecture '{keys.architecture}' is not supported; localq reads {', '.join(supported())}.",
            "`localq explain` shows what the file holds; llama.cpp may run it: pip install 'localq[llama]', then "
            "--engine llama.",
        )
    entry = _load(keys.architecture)
    if entry.with_experts is not None and keys.integer("expert_count", 0) > 0:
        return entry.with_experts
    return entry if entry.choose is None else entry.choose(keys)


def _load(architecture: str) -> Architecture:
    from importlib import import_module

    entry: Architecture = import_module(f"{__name__}.{architecture.replace('-', '_')}").ARCHITECTURE
    return entry


def __getattr__(name: str) -> object:
    if name == "SUPPORTED":
        return {architecture: _load(architecture) for architecture in supported()}
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
