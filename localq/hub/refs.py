"""What a model reference means on this machine: `demo`, a path, or a repository in the Hugging Face cache.

Spellings: `demo`, a directory, a `.gguf` or `.safetensors` file, `ollama:NAME:TAG` (read in Ollama's store),
`org/name`, `org/name:LABEL`, `name`, `name@LABEL`, `hf://org/name/file`,
`https://huggingface.co/org/name[/blob/REV/file]`. No network is used here:
whoever opens a model never downloads by the way; what is not here is refused with the `localq pull` that fetches it.
"""

import os
import re
from typing import NamedTuple

from localq.errors import NotFoundError, UsageError
from localq.paths import demo_dir, hf_cache_dir

_URL = re.compile(r"^(?:hf://|(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/)(?:models/)?", re.I)
_SHARD = re.compile(r"-(\d{5})-of-\d{5}\.gguf$", re.I)
_WEIGHTS = (".gguf", ".safetensors")


class HubRef(NamedTuple):
    """A parsed hub reference; `org` is empty for a bare name, `label` a GGUF label or a revision."""

    org: str
    name: str
    label: str = ""
    revision: str = ""
    file: str = ""

    @property
    def repo(self) -> str:
        return f"{self.org}/{self.name}" if self.org else self.name


def resolve(ref: str, revision: str | None = None) -> str:
    """The local directory or file that `ref` means, as a path.

    Raises:
        UsageError: an empty reference, or a repository with several GGUF files and no label.
        NotFoundError: nothing here answers to it; the hint says what to do.
    """
    if not ref.strip():
        raise UsageError("The model's name is empty.", "Try: localq run demo")
    if ref == "demo":
        return _demo()
    if _is_ollama(ref):
        from localq.hub.ollama import blob_of

        return blob_of(ref)
    if is_local(ref):
        path = os.path.expanduser(ref)
        if os.path.exists(path):
            return path
        raise _missing_path(ref, path)
    hub = parse(ref)
    if revision:
        hub = hub._replace(revision=revision)
    return _cached(hub, ref)


def is_local(ref: str) -> bool:
    """Whether `ref` can only mean something on this machine: `demo`, Ollama's, a path, or what is spelt like one."""
    return ref == "demo" or _is_ollama(ref) or os.path.exists(os.path.expanduser(ref)) or _looks_like_path(ref)


def _is_ollama(ref: str) -> bool:
    return ref.lower().startswith("ollama:")


def parse(ref: str) -> HubRef:
    """Split a hub reference into its parts, without looking whether it exists."""
    url = _URL.match(ref)
    if url:
        bits = [b for b in ref[url.end() :].split("?")[0].split("/") if b]
        revision = file = ""
        if len(bits) > 3 and bits[2] in ("blob", "resolve", "raw"):
            revision, file = bits[3], "/".join(bits[4:])
        elif len(bits) > 3 and bits[2] == "tree":
            revision, file = bits[3], "/".join(bits[4:])
        elif len(bits) > 2:
            file = "/".join(bits[2:])
        if len(bits) < 2:
            raise NotFoundError(f"'{ref}' names no repository.", "A hub address looks like hf://org/name.")
        hub = parse("/".join(bits[:2]))
        return hub._replace(revision=revision or hub.revision, file=file)
    label = ""
    for mark in (":", "@"):
        if mark in ref:
            ref, _, label = ref.partition(mark)
            break
    org, _, name = ref.rpartition("/")
    return HubRef(org, name, label)


def _demo() -> str:
    where = demo_dir()
    if not os.path.isfile(os.path.join(where, "config.json")):
        raise NotFoundError("The bundled model is missing from this installation.", "Reinstall localq.")
    return where


def _looks_like_path(ref: str) -> bool:
    if _URL.match(ref):
        return False
    return (
        ref.startswith((".", "/", "~", os.sep)) or ref.lower().endswith(_WEIGHTS) or ref.count("/") > 1 or "\\" in ref
    )


def _missing_path(ref: str, path: str) -> NotFoundError:
    import difflib

    folder, base = os.path.split(path.rstrip("/"))
    folder = folder or "."
    if not os.path.isdir(folder):
        return NotFoundError(f"There is no folder '{folder}', so no '{ref}'.")
    near = difflib.get_close_matches(base, os.listdir(folder), 3, 0.6)
    if near:
        return NotFoundError(f"There is no '{ref}'.", f"That folder has: {', '.join(near)}.")
    weights = sorted(f for f in os.listdir(folder) if f.lower().endswith(_WEIGHTS))[:3]
    return NotFoundError(f"There is no '{ref}'.", f"That folder has: {', '.join(weights)}." if weights else "")


def _cached(hub: HubRef, ref: str) -> str:
    cache = hf_cache_dir()
    found = [d for d in _repos(cache) if _same_repo(d, hub)]
    if len(found) > 1:
        names = ", ".join(_repo_name(d) for d in found)
        raise UsageError(f"'{hub.repo}' fits {len(found)} cached repositories: {names}.", "Write org/name.")
    if not found:
        raise _not_here(hub, ref, cache)
    return _pick(_snapshot(os.path.join(cache, found[0]), hub, ref), hub, ref)


def _repos(cache: str) -> list[str]:
    if not os.path.isdir(cache):
        return []
    return sorted(d for d in os.listdir(cache) if d.startswith("models--"))


def cached_repos() -> list[str]:
    """Names of the repositories that have a folder in the cache."""
    return [_repo_name(folder) for folder in _repos(hf_cache_dir())]


def _repo_name(folder: str) -> str:
    return folder.removeprefix("models--").replace("--", "/")


def _same_repo(folder: str, hub: HubRef) -> bool:
    name = _repo_name(folder).lower()
    return name == hub.repo.lower() or (not hub.org and name.rpartition("/")[2] == hub.name.lower())


def _not_here(hub: HubRef, ref: str, cache: str) -> NotFoundError:
    import difflib

    names = [_repo_name(d) for d in _repos(cache)]
    near = difflib.get_close_matches(hub.repo, names, 3, 0.6)
    if near:
        fetch = f" Else fetch it with: {_pull(hub)}" if hub.org else ""
        return NotFoundError(f"'{ref}' is not on this machine.", f"Did you mean {' or '.join(near)}?{fetch}")
    if not hub.org:
        return NotFoundError(
            f"'{ref}' is neither a file or folder here nor a model in {cache}.",
            f"Search the hub for it and fetch it with: {_pull(hub)}",
        )
    return NotFoundError(f"'{ref}' is not on this machine.", f"Fetch it with: {_pull(hub)}")


def _pull(hub: HubRef) -> str:
    """The command that fetches what is not here."""
    label = f":{hub.label}" if hub.label else ""
    return f"localq pull {hub.repo}{label}" + (f" --revision {hub.revision}" if hub.revision else "")


def _snapshot(repo: str, hub: HubRef, ref: str) -> str:
    """The snapshot folder of the wanted revision (default main, else the only one there is)."""
    snapshots = os.path.join(repo, "snapshots")
    have = sorted(os.listdir(snapshots)) if os.path.isdir(snapshots) else []
    want = hub.revision or "main"
    pointer = os.path.join(repo, "refs", want)
    if os.path.isfile(pointer):
        with open(pointer, encoding="utf-8") as file:
            want = file.read().strip()
    matches = [h for h in have if h.startswith(want)] if want else []
    if not matches and not hub.revision and len(have) == 1:
        matches = have
    if len(matches) != 1:
        refs = os.path.join(repo, "refs")
        known = ", ".join([*(sorted(os.listdir(refs)) if os.path.isdir(refs) else []), *(h[:12] for h in have)])
        raise NotFoundError(
            f"'{ref}' has no cached revision '{hub.revision or 'main'}'; cached: {known or 'none'}.",
            f"Fetch it with: {_pull(hub)}",
        )
    return os.path.join(snapshots, matches[0])


def _pick(snapshot: str, hub: HubRef, ref: str) -> str:
    if hub.file:
        file = os.path.join(snapshot, *hub.file.split("/"))
        if ".." not in hub.file.split("/") and os.path.isdir(file):  # a pasted tree/REV/FOLDER
            ggufs = _first_shards(file)
            return os.path.join(file, ggufs[0]) if len(ggufs) == 1 else file
        if ".." in hub.file.split("/") or not os.path.isfile(file):
            fetch = f"Fetch it with: localq pull hf://{hub.repo}/{hub.file}"
            raise NotFoundError(f"'{hub.file}' is not in the cached copy of {hub.repo}.", fetch)
        return file
    ggufs = _first_shards(snapshot)
    if not hub.label and (not ggufs or os.path.isfile(os.path.join(snapshot, "config.json"))):
        return snapshot
    fitting = [f for f in ggufs if _has_label(f, hub.label)]
    if len(fitting) == 1:
        return os.path.join(snapshot, fitting[0])
    listed = ", ".join(fitting or ggufs) or "no GGUF file"
    if fitting:
        raise UsageError(f"'{ref}' fits {len(fitting)} files: {listed}.", f"Write {hub.repo}:LABEL, e.g. :Q4_K_M.")
    raise NotFoundError(
        f"No cached GGUF of {hub.repo} is labelled '{hub.label}'; it has {listed}.", f"Fetch it with: {_pull(hub)}"
    )


def _first_shards(snapshot: str) -> list[str]:
    found = []
    for folder, _, files in os.walk(snapshot):
        for file in files:
            shard = _SHARD.search(file)
            projector = file.lower().startswith("mmproj")  # the vision half of a model, not a model
            if file.lower().endswith(".gguf") and not projector and (not shard or shard[1] == "00001"):
                found.append(os.path.relpath(os.path.join(folder, file), snapshot))
    return sorted(found)


def _has_label(file: str, label: str) -> bool:
    """Whether the file's name carries the whole label: Q4_K_M is not found in UD-Q4_K_M nor Q4_K in Q4_K_M."""
    stem = _SHARD.sub("", file.replace(os.sep, "/")).removesuffix(".gguf").lower()
    pattern = rf"(?<![a-z0-9_]){re.escape(label.lower())}(?![a-z0-9_])"
    if not label.lower().startswith("ud-"):
        pattern = rf"(?<!ud-){pattern}"
    return not label or re.search(pattern, stem) is not None
