"""A checkpoint on the hub, read from its headers: formats, shapes and config are exact, weights stay where they are.

Safetensors headers are short. A GGUF header holds the vocabulary, which has to come (`localq.checkpoints.gguf_pieces`
says why): 4 to 6 MB for 150,000 tokens, 64 KB for a file without one, as the later parts of a split model are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

from localq.checkpoints.base import Checkpoint
from localq.checkpoints.detect import open_checkpoint
from localq.checkpoints.gguf_pieces import LONGEST, Without, read_in_pieces
from localq.checkpoints.mapped import DAMAGED, map_file
from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError
from localq.hub.refs import is_local, resolve
from localq.inspect.truth import Truth, read_truth
from localq.labels import read_label

TYPE_CHECKING = False
if TYPE_CHECKING:  # what needs the network is imported when it is used: reading a file here must start fast
    from localq.hub.pull import Plan
    from localq.hub.remote import Shells

FIRST = 1 << 18  # bytes asked for at first: most safetensors headers are shorter
NEAR = 1 << 14  # bytes between two arrays that are fetched with them
MOST = 2048  # pieces of one checkpoint
T = TypeVar("T")
_NEEDED = (
    "config.json", "tokenizer_config.json", "chat_template.jinja", "quantize_config.json", "quant_config.json",
    "hf_quant_config.json",
)  # fmt: skip


class RemoteCheckpoint(Checkpoint):
    """Headers of a checkpoint that is not here: everything but the weights."""

    def __init__(self, opened: Checkpoint, whole: Sequence[str], repo: str, left_out: frozenset[str]) -> None:
        self.path, self.container = opened.path, opened.container
        self.architecture, self.config = opened.architecture, opened.config
        self.metadata = Without(opened.metadata, left_out, repo) if opened.metadata is not None else None
        self.specs = opened.specs
        self.unsupported = opened.unsupported and opened.unsupported.replace(opened.path, repo)
        self.unused = opened.unused
        self.files = {name: path for name, path in opened.files.items() if name in whole}
        self.repo = repo
        self._opened = opened

    @property
    def reference(self) -> str:
        """`org/name`, for a GGUF `org/name:LABEL`, as llama.cpp and Ollama take it too."""
        scheme = read_label(os.path.basename(self.path)).scheme if self.container == "gguf" else None
        return f"{self.repo}:{scheme}" if scheme else self.repo

    def __getitem__(self, name: str) -> object:  # type: ignore[override]
        raise self._not_here()

    def raw(self, name: str) -> tuple[memoryview, str]:
        raise self._not_here()

    def _not_here(self) -> UsageError:
        return UsageError(f"Only the headers of {self.repo} are here.", f"Fetch its weights: localq pull {self.repo}")

    def close(self) -> None:
        self._opened.close()


def open_headers(
    ref: str, revision: str | None = None, say: Callable[[str], None] = lambda text: None
) -> AbstractContextManager[Checkpoint]:
    """The checkpoint of any reference for reading its headers: from this machine, else from the hub.

    Raises:
        NotFoundError: it is neither here nor on the hub.
        LocalqError: as `open_checkpoint` and `open_remote`.
    """
    try:
        return open_checkpoint(resolve(ref, revision))
    except NotFoundError as error:
        if is_local(ref):
            raise
        return open_remote(_plan(ref, revision, say, error))


def _plan(ref: str, revision: str | None, say: Callable[[str], None], missing: NotFoundError) -> Plan:
    """What the hub says of a reference that is not here; without the hub it stays `missing`."""
    from localq.hub.failures import UnreachableError
    from localq.hub.pull import plan_pull
    from localq.hub.resolve import find
    from localq.hub.selection import Wish

    try:
        return plan_pull(find(ref, revision, say), Wish())
    except UnreachableError as error:
        raise NotFoundError(f"{missing.message} {error.message}", missing.hint) from error


@contextmanager
def open_remote(plan: Plan) -> Iterator[RemoteCheckpoint]:
    """The headers of what `localq pull` would fetch; valid inside the `with`.

    Raises:
        CheckpointError: damaged or hostile headers.
        UnsupportedError: a container localq does not read.
        LocalqError: the hub refuses or cannot be reached.
    """
    import tempfile

    from localq.hub.remote import Shells

    with tempfile.TemporaryDirectory(prefix="localq-headers-") as folder:
        shells = Shells(plan.listing, plan.files, folder)
        whole = [n for n in shells.files if n in _NEEDED or n.endswith(".safetensors.index.json")]
        weights = [n for n in shells.files if n.endswith((".gguf", ".safetensors"))]
        _each(whole, shells.whole)
        left_out = frozenset[str]().union(*_each(weights, lambda name: _fetch_header(shells, name)))
        spans = [span for name in weights if name.endswith(".safetensors") for span in _asked(shells, name)]
        if len(spans) > MOST:
            raise UnsupportedError(
                f"What the tensors of {plan.listing.repo} are is said by {len(spans)} small arrays among its weights; "
                f"localq fetches at most {MOST} such pieces.",
                f"Fetch it: localq pull {plan.listing.repo}",
            )
        _each(spans, lambda span: shells.span(*span))
        target = os.path.relpath(plan.target, plan.store.snapshot)
        with open_checkpoint(folder if target == "." else os.path.join(folder, target)) as opened:
            yield RemoteCheckpoint(opened, whole, plan.listing.repo, left_out)


def remote_truth(plan: Plan, ref: str) -> Truth:
    """The facts of a checkpoint on the hub, under the name it was asked by; errors as in `open_remote`."""
    with open_remote(plan) as checkpoint:
        return read_truth(checkpoint)._replace(path=ref)


def _each(names: Sequence[Any], do: Callable[[Any], T]) -> list[T]:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(min(8, len(names) or 1)) as pool:
        return list(pool.map(do, names))


def _fetch_header(shells: Shells, name: str) -> frozenset[str]:
    if name.endswith(".gguf"):
        return _fetch_gguf(shells, name)
    _fetch_safetensors(shells, name)
    return frozenset()


def _fetch_safetensors(shells: Shells, name: str) -> None:
    shells.begin(name, FIRST)
    with open(shells.path(name), "rb") as file:
        end = 8 + int.from_bytes(file.read(8), "little")
    if end > min(LONGEST, shells.files[name].size):
        raise CheckpointError(
            f"{name} of {shells.listing.repo} claims a header of {end - 8} bytes; the file has "
            f"{shells.files[name].size}, and at most {LONGEST} are expected.",
            DAMAGED,
        )
    shells.begin(name, end)


def _asked(shells: Shells, name: str) -> list[tuple[str, int, int]]:
    """Where the small arrays are whose values say how others are packed (HQQ's settings, bitsandbytes' states).

    Those that lie near each other come in one piece.
    """
    from localq.checkpoints.safetensors_header import read_header as read_tensors
    from localq.formats.base import SMALL
    from localq.formats.index import ASKED

    stored, _ = read_tensors(map_file(shells.path(name)), name, 0)
    ends = tuple(f".{suffix}" for suffix in ASKED)
    found = sorted((a.begin, a.end) for n, a in stored.items() if n.endswith(ends) and 0 < a.nbytes <= SMALL)
    joined: list[tuple[str, int, int]] = []
    for begin, end in found:
        if joined and begin - joined[-1][2] <= NEAR:
            joined[-1] = (name, joined[-1][1], max(end, joined[-1][2]))
        else:
            joined.append((name, begin, end))
    return joined


def _fetch_gguf(shells: Shells, name: str) -> frozenset[str]:
    """Fetch a header, and the rope factors, which belong to the config; the keys that were left out."""

    def fetch(start: int, end: int) -> memoryview:
        shells.span(name, start, end)
        return map_file(shells.path(name))

    header, left_out = read_in_pieces(name, shells.files[name].size, fetch)
    for tensor in header.tensors.values():
        if "rope" in tensor.name and tensor.nbytes <= FIRST:
            shells.span(name, tensor.offset, tensor.offset + tensor.nbytes)
    return left_out
