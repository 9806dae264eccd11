"""Names without organisation: found, chosen, or answered with the nearest real ones."""

from __future__ import annotations

import pytest

from localq.errors import NotFoundError
from localq.hub.pull import plan_pull, pull
from localq.hub.refs import parse
from localq.hub.resolve import NoClearMatchError, find, nearest
from localq.hub.selection import Wish
from tests.hub.server import Hub

# The Qwen3.6 shelf as the hub has it: 27B and 35B-A3B, no 32B.
SHELF = {
    "Qwen/Qwen3.6-27B": 900_000, "Qwen/Qwen3.6-35B-A3B": 800_000, "Qwen/Qwen3.6-27B-FP8": 300_000,
    "cyankiwi/Qwen3.6-27B-AWQ-INT4": 150_000, "QuantTrio/Qwen3.6-27B-AWQ": 90_000,
    "cyankiwi/Qwen3.6-35B-A3B-AWQ-4bit": 120_000, "someone/Qwen3.6-27B-abliterated-AWQ": 5_000,
    "Qwen/Qwen3-32B-AWQ": 400_000, "Qwen/Qwen2.5-32B-Instruct-AWQ": 500_000, "unsloth/Qwen3.6-27B-NVFP4": 40_000,
    "Qwen/Qwen3-8B": 70_000, "meta-llama/Llama-3.3-70B-Instruct": 60_000, "someone/weird-thing": 5,
}  # fmt: skip
GGUFS = {"unsloth/Qwen3.6-27B-GGUF": 700_000, "bartowski/Qwen_Qwen3.6-27B-GGUF": 100_000}
PLAIN = {"config.json": b"{}", "model.safetensors": b"w" * 100}


@pytest.fixture
def shelf(hub: Hub) -> Hub:
    for name, downloads in SHELF.items():
        hub.add(name, PLAIN, downloads=downloads)
    for name, downloads in GGUFS.items():
        stem = name.rpartition("/")[2].removesuffix("-GGUF")
        files = {f"{stem}-{q}.gguf": b"GGUF" + q.encode() for q in ("Q4_K_M", "Q6_K", "UD-Q4_K_XL")}
        hub.add(name, files, downloads=downloads)
    return hub


def found(name: str) -> tuple[str, str, list[str]]:
    said: list[str] = []
    hub = find(name, None, said.append)
    return hub.repo, hub.label, said


@pytest.mark.parametrize(
    ("name", "repo", "label"),
    [
        ("Qwen3.6-27B", "Qwen/Qwen3.6-27B", ""),
        ("qwen3.6_27b", "Qwen/Qwen3.6-27B", ""),
        ("Qwen3.6-27B-AWQ", "QuantTrio/Qwen3.6-27B-AWQ", ""),
        ("Qwen3.6-27B-FP8", "Qwen/Qwen3.6-27B-FP8", ""),
        ("Qwen3.6-35B-A3B", "Qwen/Qwen3.6-35B-A3B", ""),
        ("Qwen3.6-35B-A3B-AWQ", "cyankiwi/Qwen3.6-35B-A3B-AWQ-4bit", ""),
        ("Qwen3.6-27B-GGUF", "unsloth/Qwen3.6-27B-GGUF", ""),
        ("Qwen3.6-27B@Q4_K_M", "unsloth/Qwen3.6-27B-GGUF", "Q4_K_M"),
        ("Qwen3.6-27B-Q6_K", "unsloth/Qwen3.6-27B-GGUF", "Q6_K"),
        ("Qwen3.6-27B:UD-Q4_K_XL", "unsloth/Qwen3.6-27B-GGUF", "UD-Q4_K_XL"),
        ("weird-thing", "someone/weird-thing", ""),
    ],
)
def test_a_clear_winner_is_taken_and_said(shelf: Hub, name: str, repo: str, label: str) -> None:
    got, got_label, said = found(name)
    assert (got, got_label) == (repo, label)
    assert any(repo in line for line in said)


def test_a_model_that_does_not_exist_gets_the_nearest_that_do(shelf: Hub) -> None:
    """Qwen3.6 has 27B and 35B-A3B: the answer names their AWQ builds, with size and difference, and no other family."""
    with pytest.raises(NoClearMatchError, match="The hub has no model 'Qwen3.6-32B-Instruct-AWQ'") as caught:
        found("Qwen3.6-32B-Instruct-AWQ")
    names = [c.repo for c in caught.value.candidates]
    assert set(names[:3]) == {
        "QuantTrio/Qwen3.6-27B-AWQ", "cyankiwi/Qwen3.6-27B-AWQ-INT4", "cyankiwi/Qwen3.6-35B-A3B-AWQ-4bit"
    }  # fmt: skip
    assert all(n in SHELF and "Llama" not in n for n in names)
    assert "Did you mean: " in caught.value.hint and "27B, not 32B" in caught.value.hint and "GB" in caught.value.hint
    assert caught.value.exit_code == 3


def test_no_clear_winner_lists_them(shelf: Hub) -> None:
    shelf.add("other/Qwen3.6-27B-AWQ", PLAIN, downloads=80_000)
    with pytest.raises(NoClearMatchError, match="2 repositories of the hub answer to 'Qwen3.6-27B-AWQ'") as caught:
        found("Qwen3.6-27B-AWQ")
    assert "QuantTrio/Qwen3.6-27B-AWQ (0.00 GB), other/Qwen3.6-27B-AWQ (0.00 GB)" in caught.value.hint


def test_another_model_is_never_taken(shelf: Hub) -> None:
    for name in ("Qwen3.6-27B-GPTQ", "Qwen3.6-Coder-27B", "Qwen3.7-27B", "Llama-3.3-8B-Instruct"):
        with pytest.raises(NoClearMatchError):
            found(name)


def test_nothing_like_it(shelf: Hub) -> None:
    with pytest.raises(NotFoundError, match="no model like 'zzz'"):
        found("zzz")


def test_a_misspelt_repository_gets_near_ones(shelf: Hub) -> None:
    error = nearest("Qwen/Qwen3.6-28B", parse("Qwen/Qwen3.6-28B"))
    assert error.candidates[0].repo == "Qwen/Qwen3.6-27B"


def test_what_is_in_the_cache_is_meant_first(shelf: Hub) -> None:
    pull(plan_pull(parse("cyankiwi/Qwen3.6-27B-AWQ-INT4"), Wish()))
    before = len(shelf.asked)
    assert found("Qwen3.6-27B-AWQ-INT4")[0] == "cyankiwi/Qwen3.6-27B-AWQ-INT4"
    assert len(shelf.asked) == before


def test_candidates_that_cannot_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from localq.hub import resolve

    here = resolve.machine()._replace(memory=8_000_000_000, gpu_memory=0)
    monkeypatch.setattr(resolve, "machine", lambda: here)
    assert resolve._too_large(7_000_000_000) == ""
    assert resolve._too_large(9_000_000_000) == ", too large for the 8 GB here"
