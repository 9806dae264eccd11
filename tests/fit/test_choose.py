"""Which build is marked, on which machine, and why; builds from listings; the curve."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from localq.errors import LocalqError, NotFoundError, UnsupportedError
from localq.fit.choose import Offer, choose
from localq.fit.curve import points, svg, text
from localq.fit.gather import config_of, from_hub, same_model
from localq.fit.machines import named_machine
from localq.fit.quality import published
from localq.hub.listing import Found, Listing, RemoteFile
from localq.labels.grammar import read_label
from tests.models.releases import RELEASES

CONFIG = RELEASES["Qwen3-8B"].config
GB = 10**9


def offers(**sizes: float) -> list[Offer]:
    """Builds of Qwen3-8B by label and gigabytes; `_` in a keyword stands for itself."""
    return [
        Offer(f"org/Qwen3-8B:{name}", read_label(f"Qwen3-8B-{name}"), round(size * GB)) for name, size in sizes.items()
    ]


LADDER = offers(Q8_0=8.7, Q6_K=6.7, Q5_K_M=5.85, Q4_K_M=5.03, IQ4_XS=4.6, Q3_K_M=4.1, Q2_K=3.3, IQ2_XXS=2.5)


def taken(machine: str, *, task: str = "general", context: int = 8192, among: list[Offer] = LADDER) -> str:
    choice = choose(among, CONFIG, named_machine(machine), context, task=task)
    return choice.best.offer.ref.partition(":")[2] if choice.best else ""


def test_four_bits_by_default() -> None:
    assert taken("M4 Pro 48GB") == "Q4_K_M"


@pytest.mark.parametrize("task", ["reasoning", "coding"])
def test_five_to_six_bits_for_reasoning_and_coding(task: str) -> None:
    assert taken("M4 Pro 48GB", task=task) == "Q6_K"


def test_a_small_machine_gets_what_fits_and_is_told() -> None:
    choice = choose(LADDER, CONFIG, named_machine("M2 8GB"), 4096)
    assert choice.best and choice.best.offer.ref.endswith("Q3_K_M")
    assert "above 3 bits" in choice.reason


def test_under_three_bits_only_when_nothing_else_fits_and_then_it_is_said() -> None:
    only = [o for o in LADDER if o.ref.endswith(("Q2_K", "IQ2_XXS"))]
    choice = choose([o for o in only if o.ref.endswith("IQ2_XXS")], CONFIG, named_machine("M4 Pro 48GB"), 4096)
    assert choice.best and "damage" in choice.reason


def test_nothing_fits_says_how_much_is_missing() -> None:
    choice = choose(LADDER, CONFIG, named_machine("M2 8GB"), 200_000)
    assert choice.best is None and "GB more" in choice.reason


def test_quantisation_aware_builds_win_at_four_bits() -> None:
    qat = Offer("org/Qwen3-8B-qat:Q4_0", read_label("Qwen3-8B-qat-q4_0-gguf"), 4_700_000_000)
    assert taken("M4 Pro 48GB", among=[*LADDER, qat]) == "Q4_0"


def test_what_the_gpu_multiplies_itself() -> None:
    more = [*LADDER, *offers(NVFP4=4.9, FP8=8.8)]
    assert taken("RTX 5090", among=more) == "NVFP4"
    assert taken("H200", among=more) == "FP8"
    assert taken("RTX 4090", among=more) == "Q4_K_M"


def test_no_builds_at_all() -> None:
    with pytest.raises(UnsupportedError):
        choose([], CONFIG, named_machine("RTX 4090"), 4096)


def test_published_figures_are_told_with_and_without_importance_matrix() -> None:
    plain, weighted = published("q4_k_m"), published("Q4_K_M", imatrix=True)
    assert plain and weighted and weighted.kld < plain.kld
    assert published("UD-Q4_K_XL") is None and published(None) is None


@pytest.mark.parametrize(
    ("asked", "found", "same"),
    [
        ("Qwen3-8B", "bartowski/Qwen_Qwen3-8B-GGUF", True),
        ("Qwen3-8B", "Qwen/Qwen3-8B-AWQ", True),
        ("Qwen3-8B", "Qwen/Qwen3-4B-AWQ", False),
        ("Qwen3-8B", "Qwen/Qwen2.5-7B-Instruct-AWQ", False),
        ("Qwen3-8B", "Qwen/Qwen3-8B-Base", False),
        ("Qwen3-30B-A3B", "unsloth/Qwen3-30B-A3B-GGUF", True),
        ("Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct", True),
    ],
)
def test_same_model(asked: str, found: str, same: bool) -> None:
    assert same_model(read_label(asked), read_label(found)) is same


def listing(repo: str, **files: int) -> Listing:
    named = tuple(RemoteFile(path, size, "0" * 40) for path, size in files.items())
    return Listing(repo, repo, "main", "0" * 40, named)


LISTINGS = {
    "bartowski/Qwen_Qwen3-8B-GGUF": listing(
        "bartowski/Qwen_Qwen3-8B-GGUF",
        **{
            "Qwen_Qwen3-8B-Q4_K_M.gguf": 5 * GB,
            "Qwen_Qwen3-8B-Q8_0-00001-of-00002.gguf": 4 * GB,
            "Qwen_Qwen3-8B-Q8_0-00002-of-00002.gguf": 4 * GB,
            "mmproj-Qwen_Qwen3-8B-f16.gguf": GB,
        },
    ),
    "Qwen/Qwen3-8B-AWQ": listing(
        "Qwen/Qwen3-8B-AWQ", **{"model.safetensors": 6 * GB, "consolidated.safetensors": 6 * GB, "config.json": 700}
    ),
}


def test_builds_come_from_listings_shards_together_second_copies_left_out() -> None:
    found = from_hub(
        read_label("Qwen3-8B"),
        lambda words: [Found(repo, 10, 0) for repo in [*LISTINGS, "Qwen/Qwen3-4B-AWQ"]],
        LISTINGS.__getitem__,
    )
    assert {offer.label.scheme or offer.label.method: offer.nbytes for offer in found} == {
        "Q4_K_M": 5 * GB,
        "Q8_0": 8 * GB,
        "awq": 6 * GB,
    }
    assert all(offer.label.parameters == 8 * GB for offer in found)


def test_a_repository_that_cannot_be_listed_hides_no_other() -> None:
    def read(repo: str) -> Listing:
        if repo.startswith("Qwen/"):
            raise LocalqError("gated")
        return LISTINGS[repo]

    assert len(from_hub(read_label("Qwen3-8B"), lambda words: [Found(r, 1, 0) for r in LISTINGS], read)) == 2


def test_a_model_nobody_has_is_not_found() -> None:
    with pytest.raises(NotFoundError, match="Qwen3"):
        from_hub(read_label("Qwen3-8B"), lambda words: [], LISTINGS.__getitem__)
    with pytest.raises(NotFoundError, match="config"):
        config_of(LADDER, lambda offer: None)


def test_the_curve_draws_what_was_measured() -> None:
    choice = choose(LADDER, CONFIG, named_machine("M2 8GB"), 4096)
    found = points(choice.candidates, choice.best)
    assert [p.name for p in found] == ["IQ2_XXS", "Q2_K", "Q3_K_M", "IQ4_XS", "Q4_K_M", "Q5_K_M", "Q6_K", "Q8_0"]
    drawn = text(found)
    plot = drawn[: drawn.index("size of the weights")]
    assert plot.count("*") == 1 and plot.count("x") == sum(not p.fits for p in found) > 0
    document = ElementTree.fromstring(svg(found, "A <title> & more"))
    assert len(document.findall("{http://www.w3.org/2000/svg}circle")) == len(found)


def test_a_curve_of_nothing_is_refused() -> None:
    choice = choose(offers(NVFP4=4.9), CONFIG, named_machine("RTX 5090"), 4096)
    with pytest.raises(UnsupportedError, match="published"):
        points(choice.candidates, choice.best)
