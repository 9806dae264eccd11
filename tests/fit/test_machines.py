"""Machines by name and by size."""

from __future__ import annotations

import pytest

from localq.errors import UsageError
from localq.fit.machines import named_machine, parse_size, sized, this_machine
from localq.hardware import working_set_limit

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "nbytes"), [("24GB", 24 * GIB), ("24 GiB", 24 * GIB), ("1.5g", 3 * GIB // 2), ("512MB", GIB // 2)]
)
def test_sizes(text: str, nbytes: int) -> None:
    assert parse_size(text) == nbytes


@pytest.mark.parametrize("text", ["", "lots", "24", "-3GB", "0GB", "24 apples"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="24GB"):
        try:
            parse_size(text)
        except UsageError as error:
            raise UsageError(f"{error.message} {error.hint}") from None


def test_a_mac_may_use_what_macos_lets_its_gpu_hold() -> None:
    found = named_machine("M4 Pro 48GB")
    assert (found.device, found.chip, found.bandwidth.gb_per_s) == ("metal", "Apple M4 Pro", 273)
    assert found.limit == working_set_limit(48 * GIB, 0)[0]
    assert "sysctl iogpu.wired_limit_mb" in found.note


def test_cards_have_the_memory_they_are_sold_with() -> None:
    one, two = named_machine("RTX 4090"), named_machine("2x RTX 4090")
    assert (one.limit, two.limit, two.gpus) == (24 * GIB, 48 * GIB, 2)
    assert named_machine("NVIDIA GeForce RTX 3060 12GB").bandwidth.gb_per_s == 360


@pytest.mark.parametrize("text", ["M4 Pro", "RTX 3060", "RTX 9999", "abacus", "2x M4 Pro 48GB", "0x RTX 4090"])
def test_what_is_not_known_or_not_enough_said_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        named_machine(text)


def test_memory_alone_says_nothing_of_speed() -> None:
    found = sized("24GB")
    assert found.limit == 24 * GIB and found.bandwidth.gb_per_s is None


def test_this_machine_has_memory() -> None:
    assert this_machine().limit > 0
