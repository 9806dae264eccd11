"""Published quality of schemes: KL divergence of a packed model from its 16-bit original, with the source.

Only figures that were read in the named source; a scheme without one is "not measured". All rows are one model,
Llama-3-8B on WikiText-2 (llama.cpp tools/perplexity/README.md), so they order schemes and do not predict a model:
newer and smaller models lose more.
"""

from __future__ import annotations

from typing import NamedTuple

SOURCE = "Llama-3-8B, llama.cpp tools/perplexity/README.md"


class Quality(NamedTuple):
    """Mean KL divergence (nats) and added perplexity over 16 bits (6.2331)."""

    kld: float
    added_perplexity: float


# Where the table has the scheme with and without importance matrix, both.
_PLAIN = {
    "Q8_0": Quality(0.0014, 0.003),
    "Q6_K": Quality(0.0055, 0.022),
    "Q5_K_M": Quality(0.0108, 0.057),
    "Q4_K_M": Quality(0.0313, 0.175),
    "Q4_0": Quality(0.0719, 0.469),
}
_IMATRIX = {
    "Q4_K_M": Quality(0.0282, 0.151),
    "Q4_K_S": Quality(0.0320, 0.178),
    "IQ4_XS": Quality(0.0363, 0.228),
    "Q3_K_M": Quality(0.084, 0.503),
    "IQ3_M": Quality(0.103, 0.667),
    "IQ2_M": Quality(0.326, 2.37),
    "Q2_K": Quality(0.332, 2.42),
    "IQ2_XXS": Quality(0.812, 7.86),
}


def published(scheme: str | None, imatrix: bool | None = None) -> Quality | None:
    """The figure for a scheme; one that exists only with an importance matrix is given whatever the name says of it."""
    if scheme is None:
        return None
    name = scheme.upper()
    if imatrix and name in _IMATRIX:
        return _IMATRIX[name]
    return _PLAIN.get(name) or _IMATRIX.get(name)
