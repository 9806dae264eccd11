"""What models are on this machine, whichever program brought them: names, sizes and last use, nothing opened.

Read: the Hugging Face cache, the folders given to `pull --local-dir`, and, never written to, LM Studio's folders
(`PUBLISHER/MODEL/FILES`) and Ollama's store.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from localq.hub import ollama, store
from localq.hub.listing import RemoteFile
from localq.hub.selection import Build, gguf_builds, short_label
from localq.labels.grammar import read_label
from localq.paths import hf_cache_dir

HF, FOLDER, LM_STUDIO, OLLAMA = "hugging face", "folder", "lm studio", "ollama"


class Entry(NamedTuple):
    """One model that can be opened (or an unfinished download). `files` are real paths, links followed."""

    ref: str
    source: str
    container: str  # "gguf", "safetensors", or "unfinished"
    label: str
    size: int
    last_used: float | None  # seconds since 1970, as the file system keeps it
    path: str
    files: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        plain = self._asdict()
        del plain["files"]
        return plain


def installed() -> list[Entry]:
    """Every model here, most recently used first."""
    found = [*_cached(), *_folders(), *_lm_studio(), *_ollama()]
    return sorted(found, key=lambda e: (-(e.last_used or 0.0), e.ref))


def total_size(entries: Iterable[Entry]) -> int:
    """Bytes on disk of all entries; a file that several share counts once."""
    sizes: dict[tuple[int, int], int] = {}
    for entry in entries:
        for path in entry.files:
            try:
                facts = os.stat(path)
            except OSError:
                continue
            sizes[facts.st_dev, facts.st_ino] = facts.st_size
    return sum(sizes.values())


def _cached() -> Iterator[Entry]:
    cache = hf_cache_dir()
    for folder in _subfolders(cache):
        if not folder.startswith("models--"):
            continue
        repo = folder.removeprefix("models--").replace("--", "/")
        where = os.path.join(cache, folder)
        snapshots = os.path.join(where, "snapshots")
        commits = _subfolders(snapshots)
        complete = False
        for commit in commits:
            mark = f"@{commit[:12]}" if len(commits) > 1 and commit != _main(where) else ""
            for entry in _models(os.path.join(snapshots, commit), repo, HF):
                complete = True
                yield entry._replace(ref=entry.ref + mark)
        unfinished = _unfinished(where)
        if unfinished and not complete:
            yield _entry(repo, HF, "unfinished", repo, where, unfinished)


def _main(where: str) -> str:
    try:
        with open(os.path.join(where, "refs", "main"), encoding="utf-8") as file:
            return file.read().strip()
    except OSError:
        return ""


def _unfinished(where: str) -> list[str]:
    blobs = os.path.join(where, "blobs")
    names = sorted(os.listdir(blobs)) if os.path.isdir(blobs) else []
    return [os.path.join(blobs, n) for n in names if n.endswith(".incomplete")]


def _folders() -> Iterator[Entry]:
    for folder, facts in store.read_folders().items():
        if os.path.isdir(folder):
            for entry in _models(folder, facts["repo"], FOLDER):
                yield entry._replace(ref=entry.path)


def _lm_studio() -> Iterator[Entry]:
    for home in lm_studio_folders():
        for publisher in _subfolders(home):
            for model in _subfolders(os.path.join(home, publisher)):
                for entry in _models(os.path.join(home, publisher, model), f"{publisher}/{model}", LM_STUDIO):
                    yield entry._replace(ref=entry.path)


def lm_studio_folders() -> list[str]:
    """LM Studio's model folders, new and old, also where its pointer file says it has moved."""
    homes = [os.path.expanduser("~/.lmstudio"), os.path.expanduser("~/.cache/lm-studio")]
    try:
        with open(os.path.expanduser("~/.lmstudio-home-pointer"), encoding="utf-8") as file:
            homes.insert(0, file.read().strip())
    except (OSError, ValueError):
        pass
    found = {os.path.realpath(os.path.join(h, "models")) for h in homes if h}
    return sorted(folder for folder in found if os.path.isdir(folder))


def _ollama() -> Iterator[Entry]:
    for model in ollama.models():
        files = [f for f in model.files if os.path.isfile(f)]
        if files and os.path.isfile(model.blob):
            yield _entry(model.ref, OLLAMA, "gguf", model.label, model.blob, files)


def _models(folder: str, repo: str, source: str) -> Iterator[Entry]:
    """Every GGUF build of a folder, and its safetensors as one."""
    files = dict(_walk(folder))
    builds = gguf_builds([RemoteFile(path, 0, "") for path in files])
    for build in builds:
        paths = [os.path.join(folder, *f.path.split("/")) for f in build.files]
        name = build.name.rpartition("/")[2]
        yield _entry(_ref(repo, build, builds), source, "gguf", name, paths[0], paths)
    if any(path.endswith(".safetensors") and "/" not in path for path in files):
        paths = [os.path.join(folder, path) for path in files if "/" not in path and not path.endswith(".gguf")]
        yield _entry(repo, source, "safetensors", repo, folder, paths)


def _ref(repo: str, build: Build, builds: list[Build]) -> str:
    """How to name one build: by its quantisation where that tells it from the others, else by what does."""
    scheme = read_label(build.name.rpartition("/")[2]).to_dict().get("scheme")
    others = [read_label(b.name.rpartition("/")[2]).to_dict().get("scheme") for b in builds]
    label = scheme if scheme and others.count(scheme) == 1 else short_label(build.name, builds)
    return f"{repo}:{label}"


def _walk(folder: str) -> Iterator[tuple[str, str]]:
    """Relative path (with /) and path of every file, hidden folders left out."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        for name in sorted(names):
            path = os.path.join(where, name)
            if os.path.isfile(path):
                yield os.path.relpath(path, folder).replace(os.sep, "/"), path


def _subfolders(folder: str) -> list[str]:
    try:
        return sorted(n for n in os.listdir(folder) if not n.startswith(".") and os.path.isdir(os.path.join(folder, n)))
    except OSError:
        return []


def _entry(ref: str, source: str, container: str, name: str, path: str, files: Iterable[str]) -> Entry:
    real = tuple(dict.fromkeys(os.path.realpath(f) for f in files))
    facts = [os.stat(f) for f in real]
    used = max((f.st_atime for f in facts), default=None)
    return Entry(ref, source, container, _label(name), sum(f.st_size for f in facts), used, path, real)


def _label(name: str) -> str:
    """The quantisation a name claims: its scheme, else its method; "" where it says none."""
    fields = read_label(name).to_dict()
    return str(fields.get("scheme") or fields.get("method") or "")
