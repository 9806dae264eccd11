"""Exactly the files a model needs, from repositories that hold much else."""

from __future__ import annotations

import pytest

from localq.errors import CheckpointError, NotFoundError, UnsupportedError, UsageError
from localq.hub.refs import resolve
from tests.hub.server import Hub
from tests.hub.test_pull import BIG, SMALL, get, noise, paths, plan

GGUFS = {
    "m-Q4_K_M.gguf": noise(100), "m-UD-Q4_K_M.gguf": noise(110), "m-Q4_K_S.gguf": noise(90),
    "mmproj-F16.gguf": noise(20), "mmproj-F32.gguf": noise(40), "imatrix.gguf": noise(5), "README.md": b"x",
    "Q8_0/m-Q8_0-00001-of-00002.gguf": noise(60), "Q8_0/m-Q8_0-00002-of-00002.gguf": noise(61),
    "BF16/m-BF16-00001-of-00003.gguf": noise(60), "config.json": b"{}",
}  # fmt: skip


def test_one_gguf_with_its_shards(hub: Hub) -> None:
    hub.add("acme/Tiny-GGUF", GGUFS)
    assert paths("acme/Tiny-GGUF:Q4_K_M") == ["m-Q4_K_M.gguf"]
    assert paths("acme/Tiny-GGUF:ud-q4_k_m") == ["m-UD-Q4_K_M.gguf"]
    assert paths("acme/Tiny-GGUF:Q8_0") == ["Q8_0/m-Q8_0-00001-of-00002.gguf", "Q8_0/m-Q8_0-00002-of-00002.gguf"]
    assert paths("acme/Tiny-GGUF:Q4_K_S", mmproj=True) == ["m-Q4_K_S.gguf", "mmproj-F16.gguf"]
    assert paths("hf://acme/Tiny-GGUF/blob/main/Q8_0/m-Q8_0-00002-of-00002.gguf") == paths("acme/Tiny-GGUF:Q8_0")
    assert paths("https://huggingface.co/acme/Tiny-GGUF/tree/main/Q8_0") == paths("acme/Tiny-GGUF:Q8_0")
    assert get("acme/Tiny-GGUF:Q8_0").name == "m-Q8_0-00001-of-00002.gguf"
    assert resolve("acme/Tiny-GGUF:Q8_0").endswith("m-Q8_0-00001-of-00002.gguf")
    with pytest.raises(CheckpointError, match="lacks 2 of 00003 shards"):
        paths("acme/Tiny-GGUF:BF16")
    with pytest.raises(UsageError, match=r"has 5 builds: BF16 .0.00 GB., Q4_K_S .*e.g. acme/Tiny-GGUF:Q4_K_M"):
        paths("acme/Tiny-GGUF")
    with pytest.raises(NotFoundError, match="no build labelled 'Q3_K_M'; it has .*Q4_K_M"):
        paths("acme/Tiny-GGUF:Q3_K_M")


def test_one_set_of_safetensors(hub: Hub) -> None:
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    wanted = {
        "config.json": b"{}", "generation_config.json": b"{}", "tokenizer.json": b"{}", "merges.txt": b"a b",
        "chat_template.jinja": b"{{ x }}", "tokenizer.model": b"\0", "model.safetensors.index.json": index,
        "model-00001-of-00002.safetensors": noise(10), "model-00002-of-00002.safetensors": noise(11),
    }  # fmt: skip
    unwanted = {
        "README.md": b"x", "LICENSE": b"x", "pytorch_model.bin": b"x", "pytorch_model.bin.index.json": b"{}",
        "consolidated.safetensors": noise(9), "original/consolidated.00.pth": b"x", "onnx/model.onnx": b"x",
        "modeling_evil.py": b"boom", "model.fp16.safetensors": noise(8), "figure.png": b"x",
    }  # fmt: skip
    hub.add("acme/Full", {**wanted, **unwanted})
    assert paths("acme/Full") == sorted(wanted)
    assert paths("acme/Full", include=("*.py", "original/"), exclude=("*.pth",)) == ["modeling_evil.py"]
    assert paths("acme/Full", exclude=("*.safetensors",)) == sorted(n for n in wanted if n[-12:] != ".safetensors")
    hub.add("acme/Lacks", {n: c for n, c in wanted.items() if "00002-of" not in n})
    with pytest.raises(CheckpointError, match="lacks 1 files that its index names: model-00002-of"):
        paths("acme/Lacks")


def test_a_label_may_be_a_branch(hub: Hub) -> None:
    repo = hub.add("acme/Tiny-exl2", {**SMALL, BIG: noise(3000)})
    repo.revisions["4.0bpw"] = repo.commit
    assert plan("acme/Tiny-exl2:4.0bpw").listing.revision == "4.0bpw"
    with pytest.raises(NotFoundError, match="one build as safetensors and no GGUF, so there is no 'Q4_K_M'"):
        plan("acme/Tiny-exl2:Q4_K_M")


@pytest.mark.parametrize(
    ("files", "words"), [({"pytorch_model.bin": b"x"}, "only as pickles"), ({"a.txt": b""}, "holds no GGUF")]
)
def test_nothing_to_read(hub: Hub, files: dict[str, bytes], words: str) -> None:
    hub.add("acme/Odd", files)
    with pytest.raises(UnsupportedError, match=words):
        plan("acme/Odd")
