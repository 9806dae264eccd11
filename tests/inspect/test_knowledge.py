"""What `explain` knows: its tables against the registry of formats, every recipe and scheme in words."""

from __future__ import annotations

import math

import pytest

from localq.formats import FORMATS, find
from localq.inspect.knowledge.cards import card_for
from localq.inspect.knowledge.ggml import PACKINGS, RECIPES
from localq.inspect.knowledge.integers import awq, gptq, hqq
from localq.inspect.knowledge.mlx import BITS, GROUPS
from localq.inspect.knowledge.mlx import packing as mlx_packing
from localq.inspect.label_words import format_rows, packing_rows, piece_rows
from localq.inspect.truth import _FILE_TYPES
from localq.labels import read_label
from tests.labels.test_grammar import NAMES

PACKED = [*PACKINGS.values(), *(mlx_packing(bits, group) for bits in BITS for group in GROUPS)]


@pytest.mark.parametrize("packing", PACKED, ids=lambda p: p.name)
def test_blocks_add_up_to_the_registered_format(packing) -> None:  # type: ignore[no-untyped-def]
    """Bits, group and symmetry in the words are those of the format that decodes the file."""
    found = find(packing.name)
    assert found is not None
    assert packing.bits_per_weight == found.bits_per_weight
    assert (packing.group, packing.symmetric) == (found.group_size, found.symmetric)


@pytest.mark.parametrize("card", [gptq(4, 128), gptq(8, 32), awq(4, 128), hqq(4, 64)], ids=lambda c: c.packing.name)
def test_grouped_integers_add_up(card) -> None:  # type: ignore[no-untyped-def]
    found = find(card.packing.name)
    assert found is not None and math.isclose(card.packing.bits_per_weight, found.bits_per_weight)


@pytest.mark.parametrize("scheme", ["NVFP4", "MXFP4", "MXFP8", "BF16", "F16", "F32", "nf4"])
def test_floats_add_up(scheme: str) -> None:
    card = card_for(read_label(scheme))
    assert card is not None and card.packing is not None
    found = find(card.packing.name)
    assert found is not None and found.bits_per_weight == card.packing.bits_per_weight


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_every_registered_format_is_explained(name: str) -> None:
    rows = dict(format_rows(name))
    example = FORMATS[name].examples()[0]
    assert rows["format"].startswith(name) and f"{example.bits_per_weight:.5g} per weight" in rows["bits"]


def test_a_variant_of_a_family_is_explained_by_its_name() -> None:
    assert "gptq_4bit_g128" in dict(format_rows("gptq_4bit_g128"))["format"]
    assert format_rows("nothing_of_the_kind") == []


@pytest.mark.parametrize("name", sorted(set(RECIPES) | set(_FILE_TYPES.values())))
def test_every_recipe_is_explained(name: str) -> None:
    """What llama.cpp can write into general.file_type, and every recipe of the table."""
    rows = dict(packing_rows(read_label(name)))
    assert {"packing", "bits", "engines", "made by", "for", "or rather"} <= set(rows)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_whole_models_cost_at_least_their_main_type(name: str) -> None:
    main, _, bits, _, divergence = RECIPES[name]
    assert find(main) is not None
    assert bits is None or bits >= PACKINGS[main].bits_per_weight - 0.07  # IQ3_XS and IQ2_S mix smaller types in
    assert divergence is None or 0 < divergence < 2


def test_fewer_bits_never_measured_better() -> None:
    """The published divergences fall as bits grow, among recipes of one kind."""
    for kind in ("Q", "IQ"):
        found = [(bits, kl) for name, (_, _, bits, _, kl) in RECIPES.items()
                 if name.startswith(kind) and "_K" in name == (kind == "Q") and bits and kl]  # fmt: skip
        found.sort()
        assert [kl for _, kl in found] == sorted((kl for _, kl in found), reverse=True)


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_every_real_name_is_put_into_words(name: str) -> None:
    label = read_label(name)
    rows = piece_rows(label)
    assert [text for text, _ in rows] == [p.text for p in label.pieces] and all(words for _, words in rows)
    card = card_for(label)
    if label.scheme and label.scheme != "Q4" and label.container in ("gguf", "mlx"):  # Q4 does not say which
        assert card is not None, label.scheme
    if card:
        assert all(figure.text and figure.source for figure in card.quality)
        assert packing_rows(label)


def test_the_arithmetic_is_shown_and_right() -> None:
    rows = dict(packing_rows(read_label("Llama-3.1-8B-Q4_K_M.gguf")))
    assert "= 4.5 bits per weight" in rows["bits"] and "4.89" in rows["whole model"]
    assert "8B x 4.89 bits / 8 = 4.9 GB" in rows["memory"]
    rows = dict(packing_rows(read_label("org/Foo-7B-AWQ")))
    assert "the usual group" in rows["bits"] and "the name does not say" in rows["packing"]
