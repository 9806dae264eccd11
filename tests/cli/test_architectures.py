"""`localq formats --architectures`: what it claims is what the tests compare."""

from __future__ import annotations

import json

from localq.inspect.architectures import NOT_RUN, describe_architectures
from tests.cli.conftest import Runner
from tests.factories.every import model_types
from tests.factories.metadata import ARCHITECTURE
from tests.models.test_every_architecture import NOT_HERE
from tests.oracles.test_more_architectures import CASES


def test_every_architecture_is_listed_with_its_containers(localq: Runner) -> None:
    code, out, _ = localq("formats", "--architectures", "--json")
    assert code == 0
    told = {one["model_type"]: one for one in json.loads(out)}
    assert "qwen3" in told["qwen3"]["gguf"] and told["qwen3"]["folder"] is True
    assert told["deepseek_v3"]["checked"] == {"gguf": "llama.cpp", "safetensors": "mlx-lm, transformers"}
    _, table, note = localq("formats", "--architectures")
    assert all(name in table for name in told) and "checked" in note


def test_what_is_said_of_gguf_is_what_was_compared() -> None:
    """Every GGUF name has a tiny model in the tests; where llama.cpp is named, it ran that model."""
    first = set(ARCHITECTURE.values())  # tests/oracles/test_two_engines.py
    by_llama = first | {case.gguf for case in CASES.values() if case.llama_cpp}
    by_other = {case.gguf for case in CASES.values() if not case.llama_cpp}
    for facts in describe_architectures():
        for stem in facts.gguf:
            assert stem in by_llama | by_other, f"{stem} has no tiny model"
        if "llama.cpp" in facts.checked.get("gguf", ""):
            assert by_llama & set(facts.gguf), facts


def test_what_is_said_of_folders_is_what_was_compared() -> None:
    listed = {facts.model_type for facts in describe_architectures() if facts.folder}
    assert listed <= set(model_types()) - set(NOT_HERE)
    assert set(NOT_RUN) == set(NOT_HERE)
