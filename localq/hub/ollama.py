"""Ollama's store, read only: manifests name layers, the layer of type `model` is a GGUF file.

Layout (ollama docs and source, `manifest.go`): `manifests/HOST/NAMESPACE/NAME/TAG` is JSON with `layers` of
`{mediaType, digest: "sha256:HEX", size}`; `blobs/sha256-HEX` are the bytes. The usual host and namespace,
`registry.ollama.ai/library`, are left out of names. A model in several GGUF layers, or in safetensors, is not one file
and is not listed.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from typing import NamedTuple

from localq.errors import NotFoundError

PREFIX = "ollama:"
_MODEL = "application/vnd.ollama.image.model"
_HOST, _NAMESPACE = "registry.ollama.ai", "library"
_MAX_MANIFEST = 1 << 20


class OllamaModel(NamedTuple):
    """One tag of Ollama's store; `files` are the blobs of all its layers."""

    ref: str
    blob: str
    files: tuple[str, ...]
    label: str


def stores() -> list[str]:
    """Folders Ollama keeps models in: OLLAMA_MODELS, else the user's and the Linux service's."""
    named = os.environ.get("OLLAMA_MODELS")
    places = [named] if named else ["~/.ollama/models", "/usr/share/ollama/.ollama/models"]
    return [p for p in map(os.path.expanduser, places) if os.path.isdir(os.path.join(p, "manifests"))]


def models() -> Iterator[OllamaModel]:
    """Every model of the stores whose weights are one GGUF file."""
    for store in stores():
        manifests = os.path.join(store, "manifests")
        for where, folders, names in os.walk(manifests):
            folders.sort()
            for tag in sorted(names):
                parts = os.path.relpath(where, manifests).split(os.sep)
                model = _read(store, parts, tag) if len(parts) == 3 else None
                if model is not None:
                    yield model


def _read(store: str, parts: list[str], tag: str) -> OllamaModel | None:
    path = os.path.join(store, "manifests", *parts, tag)
    try:
        with open(path, encoding="utf-8") as file:
            layers = json.loads(file.read(_MAX_MANIFEST))["layers"]
        named = [(layer["mediaType"], _blob(store, layer["digest"])) for layer in layers]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # another program's file, damaged or of a kind we do not know: not a model for us
    weights = [blob for kind, blob in named if kind == _MODEL]
    if len(weights) != 1:
        return None
    host, namespace, name = parts
    short = [] if (host, namespace) == (_HOST, _NAMESPACE) else [namespace] if host == _HOST else [host, namespace]
    ref = f"{PREFIX}{'/'.join([*short, name])}:{tag}"
    return OllamaModel(ref, weights[0], tuple(blob for _, blob in named), f"{name}-{tag}")


def _blob(store: str, digest: str) -> str:
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        raise ValueError(digest)
    return os.path.join(store, "blobs", digest.replace(":", "-"))


def blob_of(ref: str) -> str:
    """Path of the GGUF that `ollama:NAME[:TAG]` means, read in place.

    Raises:
        NotFoundError: Ollama has no such model here, or not as one GGUF file.
    """
    wanted = ref.lower() if ":" in ref[len(PREFIX) :].rpartition("/")[2] else f"{ref.lower()}:latest"
    known = {}
    for model in models():
        known[model.ref.lower()] = model
    if wanted in known and os.path.isfile(known[wanted].blob):
        return known[wanted].blob
    listed = ", ".join(sorted(m.ref for m in known.values())[:8])
    hint = f"It has {listed}." if listed else f"Fetch it with: ollama pull {ref[len(PREFIX) :]}"
    raise NotFoundError(f"Ollama has no model '{ref[len(PREFIX) :]}' here as one GGUF file.", hint)
