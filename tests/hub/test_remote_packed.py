"""Headers of packed checkpoints by range: also of formats that say in small arrays what their tensors are."""

from __future__ import annotations

from pathlib import Path

import pytest

from localq.checkpoints import open_checkpoint
from localq.hub.pull import plan_pull
from localq.hub.refs import parse
from localq.hub.selection import Wish
from localq.inspect.remote import open_remote, remote_truth
from tests.hub.server import Hub
from tests.packed.fixtures import variants, write

FILES = ("awq", "bitsandbytes", "codebooks", "compressed_tensors", "fp8", "hqq", "modelopt", "quanto_torchao", "quip")


@pytest.mark.parametrize("file", FILES)
def test_the_formats_are_those_of_the_files(hub: Hub, tmp_path: Path, file: str) -> None:
    """Up to six variants of each fixture; not of torchao (its notes lie apart), nor fused matrices."""
    found = variants(f"{file}.safetensors")
    for i, (name, variant) in enumerate(list(found.items())[:6]):
        drawn = all(array.size < 100 for array in variant.parts.values())  # its test draws the weights
        if drawn or "header" in (variant.config or {}) or {"fuse_scales", "scaleWH"} & set(variant.parts):
            continue
        (tmp_path / str(i)).mkdir()
        folder = write(tmp_path / str(i), variant.parts, variant.config)
        repo = f"acme/{file}-{i}".replace("_", "-")
        hub.add(repo, {p.name: p.read_bytes() for p in folder.iterdir()})
        plan = plan_pull(parse(repo), Wish())
        with open_checkpoint(folder) as local, open_remote(plan) as remote:
            assert dict(remote.specs) == dict(local.specs), name
            assert remote.unsupported == (local.unsupported and local.unsupported.replace(str(folder), repo))
        assert remote_truth(plan, repo).formats.keys() == local.formats.keys()


def test_settings_in_weights_come_in_few_bytes(hub: Hub, tmp_path: Path) -> None:
    import json

    import numpy as np
    from safetensors.numpy import save_file

    variant = next(v for v in variants("hqq.safetensors").values() if "packing" in v.parts)
    arrays = {f"model.layers.0.mlp.up_proj.{n}": a for n, a in variant.parts.items()}
    arrays["model.embed_tokens.weight"] = np.zeros((3000, 1000), np.float16)
    save_file(arrays, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "quantization_config": variant.config}))
    hub.add("acme/HQQ", {p.name: p.read_bytes() for p in tmp_path.iterdir()})
    with open_checkpoint(tmp_path) as local, open_remote(plan_pull(parse("acme/HQQ"), Wish())) as remote:
        assert dict(remote.specs) == dict(local.specs)
