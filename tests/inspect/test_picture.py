"""Number formats drawn: values against ml_dtypes, numpy and the published tables, lines and SVG well-formed."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

from localq.inspect.picture import KINDS, draw, kinds_of, picture, svg
from localq.labels import read_label

# Number of finite values, the largest, the smallest above zero: IEEE 754 and OCP's OFP8 and MX tables.
FACTS = {
    "fp16": (63487, 65504.0, 2.0**-24),
    "bf16": (65279, 3.3895313892515355e38, 2.0**-133),
    "fp8_e4m3": (253, 448.0, 2.0**-9),
    "fp8_e5m2": (247, 57344.0, 2.0**-16),
    "fp4_e2m1": (15, 6.0, 0.5),
    "int8": (256, 127.0, 1.0),
    "int4": (16, 7.0, 1.0),
    "nf4": (16, 1.0, 0.07958029955625534),
    "iq4_nl": (16, 113.0, 1.0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_values(kind: str) -> None:
    shown = picture(kind)
    count, largest, smallest = FACTS[kind]
    assert len(shown.values) == count and shown.values[-1] == largest
    assert min(v for v in shown.values if v > 0) == smallest
    assert list(shown.values) == sorted(shown.values)
    assert sum(bits for _, bits in shown.fields) in (4, 8, 16)


@pytest.mark.parametrize("kind", [*KINDS, "int2", "int5"])
def test_lines_fit_a_terminal(kind: str) -> None:
    lines = draw(picture(kind))
    assert all(len(line) <= 100 for line in lines) and len({len(line) for line in lines[1:4]}) == 1


def test_marks_are_where_values_are() -> None:
    """E2M1 on 64 columns from -6 to 6: 15 values, 15 marks, the ends at the ends, symmetric about the middle."""
    line = draw(picture("fp4_e2m1"))[4]
    marks = line.split()[1]
    assert marks.count("│") == 15 and marks[0] == marks[-1] == "│"


def test_svg_is_xml_with_every_value() -> None:
    document = ElementTree.fromstring(svg([picture("fp4_e2m1"), picture("fp8_e4m3")]))
    paths = [e.get("d", "") for e in document.iter("{http://www.w3.org/2000/svg}path")]
    assert any(path.count("v16") == 15 for path in paths)
    assert any(path.count("v16") > 150 for path in paths)  # those nearest to zero share a hundredth of a pixel


@pytest.mark.parametrize(
    ("name", "kinds"),
    [("Q8_0", ("int8",)), ("Q4_K_M", ("int4",)), ("NVFP4", ("fp4_e2m1",)), ("IQ4_XS", ("iq4_nl",)), ("bf16", ("bf16",)),
     ("FP8 E5M2", ("fp8_e5m2",)), ("Qwen3-8B-FP8", ("fp8_e4m3",)), ("IQ2_XXS", ()), ("W8A8", ("int8",)), ("AWQ", ())],
)  # fmt: skip
def test_which_picture_belongs_to_a_label(name: str, kinds: tuple[str, ...]) -> None:
    assert kinds_of(read_label(name)) == kinds
