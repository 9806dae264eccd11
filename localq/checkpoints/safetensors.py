"""The safetensors reader: one file or the shards of an index, mapped, with the config.json beside them.

MLX checkpoints, plain 16-bit ones and, as far as headers go, every other packing that is kept in this container.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from localq.checkpoints.absent_keys import completed
from localq.checkpoints.base import Checkpoint, TensorSpec
from localq.checkpoints.bnb_names import spelled
from localq.checkpoints.mapped import DAMAGED, map_file, near, read_file, shown
from localq.checkpoints.methods import Rules, find_rules
from localq.checkpoints.modules import UNUSED, Module, group, identify, lost_matrix, wanted_parts
from localq.checkpoints.quip_names import quip_settings, unfused
from localq.checkpoints.refused import refused_arrays, refused_method
from localq.checkpoints.rotations import Rotations
from localq.checkpoints.safetensors_header import DTYPES, Stored, read_header
from localq.checkpoints.shards import beside
from localq.checkpoints.strict_json import read_object
from localq.checkpoints.towers import of_tower
from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError

if TYPE_CHECKING:
    from localq.formats.base import Match, PackedTensor

MAX_CONFIG = 1 << 24
_OTHER_FILES = (".json", ".jinja", ".model", ".txt", ".tiktoken")
# Quantisers' files beside config.json, read where that says nothing: ModelOpt, AutoGPTQ, AutoAWQ.
_OWN_FILES = {"hf_quant_config.json": "modelopt", "quantize_config.json": "gptq", "quant_config.json": "awq"}


class SafetensorsCheckpoint(Checkpoint):
    """One or several safetensors files as a checkpoint.

    A tensor that no format of localq recognises keeps its stored dtype (or the config's `quant_method`) as its
    format in `specs`, `unsupported` says which one it was, and asking for it raises `UnsupportedError`.

    Args:
        path: what the user named, a folder or a file.
        folder: where config.json and tokenizer files are.
        paths: the safetensors files, in order.
        weight_map: tensor name -> file of an index, which must agree with the files; None without an index.

    Raises:
        NotFoundError: a file is missing.
        CheckpointError: a file breaks its format, files contradict each other, or arrays their settings.
    """

    container = "safetensors"

    def __init__(self, path: str, folder: str, paths: list[str], weight_map: Mapping[str, str] | None = None) -> None:
        self.path, self.paths = path, paths
        self._buffers: list[memoryview] = []
        self.stored: dict[str, Stored] = {}
        self.metadata: dict[str, str] = {}
        for number, file in enumerate(self.paths):
            self._read_file(number, file)
        if weight_map is not None:
            self._check_index(weight_map)
        self.files = other_files(folder)
        said = self._json("config.json")
        self.config = None if said is None else completed(said, self.stored)
        self.architecture = self._architecture()
        with self._naming():
            self.quantization = self._quantization()
            self._rotations = self._turned()
            self._modules, self._idle = self._group()
        self.unused = self._idle
        self._known: dict[str, Match] = {}
        rules = self._rules()
        self.specs = {name: self._spec(module, rules) for name, module in self._modules.items()}
        self._refuse_unknown_method()

    def _read_file(self, number: int, file: str) -> None:
        buffer = map_file(file)
        tensors, metadata = read_header(buffer, file, number)
        twice = next((name for name in tensors if name in self.stored), None)
        if twice is not None:
            raise CheckpointError(f"{file}: the tensor {shown(twice)} is also in an earlier file.")
        self._buffers.append(buffer)
        self.stored.update(tensors)
        self.metadata = {**metadata, **self.metadata}

    def _check_index(self, weight_map: Mapping[str, str]) -> None:
        """The index and the files must name the same tensors in the same places."""
        names = [os.path.basename(path) for path in self.paths]
        for name, file in weight_map.items():
            if name not in self.stored:
                raise CheckpointError(f"{self.path}: the index puts {shown(name)} into {file}, which lacks it.")
            if names[self.stored[name].file] != file:
                have = names[self.stored[name].file]
                raise CheckpointError(f"{self.path}: the index puts {shown(name)} into {file}; it is in {have}.")
        extra = next((name for name in self.stored if name not in weight_map), None)
        if extra is not None:
            raise CheckpointError(
                f"{self.paths[self.stored[extra].file]} holds {shown(extra)}, which the index does not name.",
                "Files of different downloads are mixed: download them again.",
            )

    @contextlib.contextmanager
    def _naming(self) -> Iterator[None]:
        """What contradicts itself inside is told with the checkpoint it is of."""
        try:
            yield
        except CheckpointError as error:
            if self.path in error.message:
                raise
            raise type(error)(f"{self.path}: {error.message}", error.hint) from None

    def _json(self, name: str) -> dict[str, Any] | None:
        path = self.files.get(name)
        return None if path is None else read_object(read_file(path, MAX_CONFIG), path, MAX_CONFIG)

    def _architecture(self) -> str | None:
        if self.config is None:
            return None
        found = self.config.get("model_type")
        if found is not None and not isinstance(found, str):
            raise CheckpointError(
                f"{self.files['config.json']}: model_type is {shown(str(found))}; a name is expected."
            )
        return found

    def _quantization(self) -> dict[str, Any] | None:
        """MLX's `quantization`, else `quantization_config` (also of `text_config`), else a quantiser's own file."""
        config = self.config or {}
        inner = config.get("text_config")
        places = [config, inner] if isinstance(inner, dict) else [config]
        for place in places:
            for key in ("quantization", "quantization_config"):
                found = place.get(key)
                if found is not None and not isinstance(found, dict):
                    raise CheckpointError(f"{self.files['config.json']}: {key} is not an object.")
                if found:
                    return self._with_own_file(found)
            if isinstance(place.get("quip_params"), dict):
                return quip_settings(place)
        qmap = self._json("quanto_qmap.json")
        if qmap:
            return {"quant_method": "quanto", "qmap": qmap, "hidden_size": config.get("hidden_size")}
        for file, method in _OWN_FILES.items():
            found = self._json(file)
            if found:
                return {"quant_method": method, **found}
        return None

    def _with_own_file(self, found: dict[str, Any]) -> dict[str, Any]:
        """ModelOpt says the groups of its integers in its own file alone, which stands beside config.json."""
        if found.get("quant_method") != "modelopt" or "group_size" in found:
            return found
        own = (self._json("hf_quant_config.json") or {}).get("quantization")
        return {**found, "group_size": own["group_size"]} if isinstance(own, dict) and "group_size" in own else found

    @property
    def quant_method(self) -> str | None:
        """The packing method the config names, None for MLX's own or none."""
        found = (self.quantization or {}).get("quant_method")
        return None if found is None else str(found)

    def _group(self) -> tuple[dict[str, Module], dict[str, str]]:
        """The modules without the arrays nobody reads, and those: stored name -> why."""
        names = (name for name in self.stored if name not in self._rotations.arrays)
        modules = spelled(unfused(group(names), self.quantization), self.quantization)
        unused = self._rotations.why()
        for name, module in list(modules.items()):
            idle = [suffix for suffix in module.parts if suffix in UNUSED]
            if len(module.parts) == 1 and name.rpartition(".")[2] in UNUSED:
                idle = ["weight"]
                del modules[name]
            for suffix in idle:
                unused[module.parts.pop(suffix)] = "a scale of activations or of the KV cache"
        return modules, unused

    def _turned(self) -> Rotations:
        """The rotations the config declares; none where localq cannot do them, which is then said."""
        tied = bool((self.config or {}).get("tie_word_embeddings", "lm_head.weight" not in self.stored))
        try:
            return Rotations(self.quantization, self.stored, tied)
        except UnsupportedError as error:
            self._cannot(f"{self.path}: {error}")
            return Rotations(None, {}, tied)

    def _rules(self) -> Rules:
        why = refused_method(self.quantization)
        if why is not None:
            self._cannot(f"{self.path}: {why[0]} {why[1]}")
            return lambda module: None
        try:
            return find_rules(self.quantization)
        except UnsupportedError as error:
            self._cannot(f"{self.path}: {error}")
            return lambda module: None
        except CheckpointError as error:
            raise type(error)(f"{self.path}: {error.message}", error.hint) from None

    def _spec(self, module: Module, rules: Rules) -> TensorSpec:
        """What packs this module; where nothing known does, remember why and tell what is stored."""
        arrays = {suffix: self.stored[name] for suffix, name in module.parts.items()}
        nbytes = sum(a.nbytes for a in arrays.values())
        main = next(iter(arrays.values()))
        turns, idle_part = {}, of_tower(module.name)
        try:
            found = self._identify(module, rules)
            turns = {} if found is None else self._rotations.of(module.name, found[1])
        except UnsupportedError as error:
            found = None
            if not idle_part:
                self._cannot(f"{self.path}: tensor {shown(module.name)}: {error}")
        except CheckpointError as error:
            if refused_method(self.quantization) is None and not idle_part:
                raise type(error)(f"{self.path}: tensor {shown(module.name)}: {error.message}", error.hint) from None
            found = None  # arrays of a packing refused by name need not be what another of the same names has
        if found is not None:
            self._known[module.name] = found
            wanted = wanted_parts(*found) if len(arrays) > 1 else set(arrays)
            idle = {stored for suffix, stored in module.parts.items() if suffix not in wanted}
            self._idle |= dict.fromkeys(idle, f"not needed for {found[0].name} weights")
            form = self._rotations.form(*found, turns) if turns else found[0]
            return TensorSpec(module.name, form.name, found[1], int(nbytes * found[0].share))
        if len(arrays) == 1 and not module.name.endswith("weight"):
            return TensorSpec(
                module.name, main.dtype.lower(), main.shape, nbytes
            )  # a table, no matrix to multiply with
        if not idle_part:
            self._cannot(self._stranger(module, arrays))
        shown_as = self.quant_method or main.dtype.lower()
        return TensorSpec(module.name, shown_as, max(arrays.values(), key=lambda a: a.nbytes).shape, nbytes)

    def _identify(self, module: Module, rules: Rules) -> Match | None:
        """The format of a module and its logical shape; None where no format of localq knows it.

        Raises:
            CheckpointError: among others where the config excludes a packed module.
        """
        from localq.formats.base import Part

        stored = {suffix: self.stored[name] for suffix, name in module.parts.items()}
        why = refused_arrays(stored)
        if why is not None:
            raise UnsupportedError(*why)
        parts = {
            suffix: Part(DTYPES[a.dtype][1] or a.dtype, a.shape, partial(self._array, module.parts[suffix]))
            for suffix, a in stored.items()
        }
        settings = rules(module)
        if self.quant_method == "torchao" and module.name in self.metadata:  # it says in the header what is what
            settings = {**(settings or {}), "torchao_tensor": self.metadata[module.name]}
        if settings is None and self.quant_method and len(parts) > 1 and not self.unsupported:
            raise CheckpointError(
                f"the config's quant_method {self.quant_method!r} excludes this module, which is stored as "
                f"{', '.join(sorted(parts))}; one array 'weight' was expected."
            )
        return identify(module, parts, settings)

    def _stranger(self, module: Module, arrays: Mapping[str, Stored]) -> str:
        stored = ", ".join(f"{suffix} {a.dtype} {list(a.shape)}" for suffix, a in arrays.items())
        says = f"quant_method {self.quant_method!r}" if self.quant_method else "no quant_method"
        return (
            f"{self.path}: no format of localq recognises {shown(module.name)}, stored as {stored}; "
            f"the config says {says}."
        )

    def _cannot(self, why: str) -> None:
        self.unsupported = self.unsupported or why

    def _refuse_unknown_method(self) -> None:
        """A method that is named but recognised in no tensor may still change the weights when loaded: say so.

        Raises:
            CheckpointError: what is there are the scales of matrices that are not.
        """
        if self.quant_method and not self.unsupported:
            orphan = lost_matrix(self._modules)
            if orphan is not None:
                raise CheckpointError(f"{self.path}: {orphan}", DAMAGED)
        if self.quant_method and all(form.family == "float" for form, _ in self._known.values()):
            self._cannot(
                f"{self.path} is quantised with quant_method {self.quant_method!r}, which localq cannot load yet."
            )

    def __getitem__(self, name: str) -> PackedTensor:
        from localq.formats.base import PackedTensor

        if name not in self._modules:
            raise NotFoundError(f"{self.path} has no tensor {shown(name)}.", near(name, self._modules))
        module = self._modules[name]
        if name not in self._known:
            arrays = {suffix: self.stored[stored] for suffix, stored in module.parts.items()}
            raise UnsupportedError(self._stranger(module, arrays), "Read its bytes with raw().")
        form, shape = self._known[name]
        wanted = wanted_parts(form, shape) if len(module.parts) > 1 else set(module.parts)
        try:
            t = PackedTensor(form, shape, {s: self._array(n) for s, n in module.parts.items() if s in wanted})
            form.check_scales(t)
            t = self._rotations.attach(t, name, self._array)
        except CheckpointError as error:
            raise CheckpointError(f"{self.path}: tensor {shown(name)}: {error.message}", error.hint) from None
        return t

    def _array(self, name: str) -> Any:
        import ml_dtypes  # noqa: F401  makes numpy know the names bfloat16 and float8_*
        import numpy as np

        stored = self._stored(name)
        kind = np.dtype(DTYPES[stored.dtype][1])
        if not stored.nbytes:
            return np.empty(stored.shape, kind)
        return np.ndarray(stored.shape, kind, self._buffers[stored.file], stored.begin)  # no view of a view

    def raw(self, name: str) -> tuple[memoryview, str]:
        """Stored bytes and dtype (as safetensors spells it) of one array, by its name in the file."""
        stored = self._stored(name)
        return self._buffers[stored.file][stored.begin : stored.end], stored.dtype

    def _stored(self, name: str) -> Stored:
        """Where an array lies, the files being open."""
        stored = self.stored.get(name)
        if stored is None:
            raise NotFoundError(f"{self.path} has no array {shown(name)}.", near(name, self.stored))
        if not self._buffers:
            raise UsageError(f"{self.path} is closed.", "Read tensors before closing the checkpoint.")
        return stored

    def close(self) -> None:
        self._buffers = []


def other_files(folder: str) -> dict[str, str]:
    """Config, tokenizer and template files of a checkpoint's folder, by name.

    Raises:
        CheckpointError: one of them is a link that leads out of the checkpoint.
    """
    names = sorted(name for name in os.listdir(folder or ".") if name.endswith(_OTHER_FILES))
    names.append("additional_chat_templates/tool_use.jinja")  # transformers' place for a template with tools
    return {name: beside(folder, name) for name in names if os.path.isfile(os.path.join(folder, name))}
