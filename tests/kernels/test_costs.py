"""Which product is taken for how many tokens: what the arithmetic says, and that no step of it goes back."""

from __future__ import annotations

import pytest

from localq.kernels import costs

ORDER = ["vector", "few", "tiles", "decoded"]


@pytest.mark.parametrize("name", sorted(costs.FAMILIES))
@pytest.mark.parametrize("bits", [2.06, 4.5, 8.5])
def test_more_tokens_never_lead_back(name: str, bits: float) -> None:
    chip = costs.FAMILIES[name]
    ways = [costs.matrix(tokens, bits, 2, chip) for tokens in range(1, 2049)]
    assert ways[0] == "vector" and ways[-1] == "decoded"
    assert [ORDER.index(way) for way in ways] == sorted(ORDER.index(way) for way in ways)
    assert set(ways[1:16]) == {"few"} and ("tiles" in ways) == chip.tiles


def test_matrix_units_move_the_change_to_decoding_forward() -> None:
    first = {
        name: next(t for t in range(1, 4096) if costs.matrix(t, 4.5, 2, costs.balance(name)) == "decoded")
        for name in ("Apple M4 Max", "Apple M5 Max")
    }
    assert first["Apple M5 Max"] < first["Apple M4 Max"]
    assert first == {"Apple M4 Max": 321, "Apple M5 Max": 33}, first


def test_experts_are_sorted_from_a_few_tokens_each() -> None:
    chip = costs.balance("Apple M4")
    for count in (8, 128):
        ways = [costs.experts(rows, count, 4.5, 2, chip) for rows in range(1, 2048)]
        turn = ways.index("sorted")
        assert 3 * count < turn < 8 * count and set(ways[turn:]) == {"sorted"}
    nvidia = [costs.experts(rows, 8, 4.5, 2, costs.balance("NVIDIA H200")) for rows in (1, 4096)]
    assert nvidia == ["each", "decoded"]


def test_a_device_by_its_name() -> None:
    assert costs.balance("Apple M3 Max") is costs.FAMILIES["Apple M3"]
    assert costs.balance("Apple M12 Ultra") is costs.balance("") is costs.FAMILIES["Apple"]
    assert costs.balance("NVIDIA GeForce RTX 5090") is costs.FAMILIES["NVIDIA"]
