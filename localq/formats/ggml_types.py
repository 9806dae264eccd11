"""The tensor types a GGUF file may hold: id, name, weights per block, bytes per block.

Pure Python, so that reading a header imports no numpy. Source: `enum ggml_type` and the block structs of
ggml/include/ggml.h and ggml/src/ggml-common.h (ggml 0.25.3). Ids 4, 5, 31-33 and 36-38 were removed from ggml.
"""

from typing import NamedTuple


class GGMLType(NamedTuple):
    """One ggml type: rows are stored as whole blocks of `block` weights in `bytes` bytes each."""

    id: int
    name: str
    block: int
    bytes: int


GGML_TYPES: dict[int, GGMLType] = {
    row[0]: GGMLType(*row)
    for row in (
        (0, "f32", 1, 4),
        (1, "f16", 1, 2),
        (2, "q4_0", 32, 18),
        (3, "q4_1", 32, 20),
        (6, "q5_0", 32, 22),
        (7, "q5_1", 32, 24),
        (8, "q8_0", 32, 34),
        (10, "q2_k", 256, 84),
        (11, "q3_k", 256, 110),
        (12, "q4_k", 256, 144),
        (13, "q5_k", 256, 176),
        (14, "q6_k", 256, 210),
        (16, "iq2_xxs", 256, 66),
        (17, "iq2_xs", 256, 74),
        (18, "iq3_xxs", 256, 98),
        (19, "iq1_s", 256, 50),
        (20, "iq4_nl", 32, 18),
        (21, "iq3_s", 256, 110),
        (22, "iq2_s", 256, 82),
        (23, "iq4_xs", 256, 136),
        (24, "i8", 1, 1),
        (25, "i16", 1, 2),
        (26, "i32", 1, 4),
        (27, "i64", 1, 8),
        (28, "f64", 1, 8),
        (29, "iq1_m", 256, 56),
        (30, "bf16", 1, 2),
        (34, "tq1_0", 256, 54),
        (35, "tq2_0", 256, 66),
        (39, "mxfp4_ggml", 32, 17),
        (40, "nvfp4_ggml", 64, 36),
        (41, "q1_0", 128, 18),
        (42, "q2_0", 64, 18),
    )
}

GGML_BY_NAME: dict[str, GGMLType] = {t.name: t for t in GGML_TYPES.values()}
