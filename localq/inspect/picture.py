"""Number formats drawn to scale: the bits of a code, and every value it can have on a number line.

Values come from the formats themselves and from the dtypes of numpy and ml_dtypes, which are imported when a picture
is asked for.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple
from xml.sax.saxutils import escape

from localq.labels.label import Label

Fields = tuple[tuple[str, int], ...]  # ("sign", 1), ("exponent", 4), ("mantissa", 3)

KINDS = ("fp16", "bf16", "fp8_e4m3", "fp8_e5m2", "int8", "int4", "fp4_e2m1", "nf4", "iq4_nl")
_TITLES = {
    "fp16": "FP16", "bf16": "BF16", "fp8_e4m3": "FP8 E4M3", "fp8_e5m2": "FP8 E5M2", "fp4_e2m1": "FP4 E2M1",
    "nf4": "NF4", "iq4_nl": "IQ4_NL",
}  # fmt: skip
_WIDTH = 64  # columns of a number line
_BARS = "▁▂▃▄▅▆▇█"
_WINDOW = 2.0  # the part around zero that is drawn again where values crowd there


class Picture(NamedTuple):
    """A number format: its title, the fields of a code from the highest bit down, its finite values in order."""

    title: str
    fields: Fields
    values: tuple[float, ...]


def picture(kind: str) -> Picture:
    """One of `KINDS`, or `int2` ... `int7`."""
    if kind.startswith("int"):
        bits = int(kind[3:])
        return Picture(kind.upper(), (("code", bits),), tuple(float(v) for v in range(-(1 << bits - 1), 1 << bits - 1)))
    fields, values = _table(kind)
    return Picture(_TITLES[kind], fields, tuple(sorted(set(values))))


def _table(kind: str) -> tuple[Fields, list[float]]:
    """Fields and values of everything that is no plain integer."""
    import ml_dtypes
    import numpy as np

    if kind == "nf4":
        from localq.formats import find

        form = find("bnb_nf4_g64")
        assert form is not None
        table = form.sample((1, 64), np.random.default_rng(0)).parts["weight.quant_map"]
        return (("index", 4),), [float(v) for v in table]
    if kind == "iq4_nl":
        from localq.formats.iq4_nl import LEVELS

        return (("index", 4),), [float(v) for v in LEVELS]
    dtype: Any = {
        "fp16": np.float16, "bf16": ml_dtypes.bfloat16, "fp8_e4m3": ml_dtypes.float8_e4m3fn,
        "fp8_e5m2": ml_dtypes.float8_e5m2, "fp4_e2m1": ml_dtypes.float4_e2m1fn,
    }[kind]  # fmt: skip
    info: Any = ml_dtypes.finfo(dtype)  # type: ignore[no-untyped-call]
    codes = np.arange(1 << info.bits, dtype=np.uint16 if info.bits == 16 else np.uint8)
    with np.errstate(invalid="ignore"):  # the codes that are no numbers
        values = codes.view(dtype).astype(np.float64)
    fields = (("sign", 1), ("exponent", info.bits - 1 - info.nmant), ("mantissa", info.nmant))
    return fields, [float(v) for v in values[np.isfinite(values)]]


def kinds_of(label: Label) -> tuple[str, ...]:
    """The number formats of a label's weights; none where its codes are no scalars or the name does not say."""
    scheme = (label.scheme or "").removeprefix("UD-").upper()
    exact = {"F16": "fp16", "FP16": "fp16", "BF16": "bf16", "NF4": "nf4", "IQ4_NL": "iq4_nl", "IQ4_XS": "iq4_nl"}
    if scheme in exact:
        return (exact[scheme],)
    if label.number_format == "float" and label.weight_bits == 8:
        return ("fp8_e5m2",) if "E5M2" in scheme else ("fp8_e4m3",)
    if label.number_format == "float" and label.weight_bits == 4:
        return ("fp4_e2m1",)
    if label.number_format == "int" and isinstance(label.weight_bits, int) and 2 <= label.weight_bits <= 8:
        return (f"int{label.weight_bits}",)
    return ()


def draw(shown: Picture) -> list[str]:
    """Lines for a terminal: bits two columns each, then the number line, and again around zero where it is crowded."""
    edges = ["─" * (2 * bits) for _, bits in shown.fields]
    cells = [(name if len(name) <= 2 * bits else name[0]).center(2 * bits) for name, bits in shown.fields]
    words = ", ".join(f"{bits} {name}" for name, bits in shown.fields)
    low, high = shown.values[0], shown.values[-1]
    lines = [
        f"{shown.title}: {words}; {len(shown.values)} values from {low:g} to {high:g}",
        "┌" + "┬".join(edges) + "┐",
        "│" + "│".join(cells) + "│",
        "└" + "┴".join(edges) + "┘",
        _line(shown.values, low, high),
    ]
    if high > 4 * _WINDOW and len(shown.fields) > 1:
        lines.append(_line(shown.values, -_WINDOW, _WINDOW))
    return lines


def _line(values: tuple[float, ...], low: float, high: float) -> str:
    """One column per share of the range: a mark where a value lies, a thick one where several do; bars (their height
    the logarithm of how many) where there are thousands."""
    counts = [0] * _WIDTH
    for value in values:
        if low <= value <= high:
            counts[min(int((value - low) / (high - low) * _WIDTH), _WIDTH - 1)] += 1
    if len(values) > 1000:
        most = math.log(max(counts) + 1)
        marks = "".join(_BARS[round(7 * math.log(n + 1) / most)] for n in counts)
    else:
        marks = "".join("─" if n == 0 else "│" if n == 1 else "┃" if n < 10 else "█" for n in counts)
    return f"{low:>9g} {marks} {high:g}"


_COLOURS = {"sign": "#c0392b", "exponent": "#2471a3", "mantissa": "#1e8449"}


def svg(pictures: list[Picture]) -> str:
    """The same pictures as one SVG document, 760 wide."""
    body = [line for i, shown in enumerate(pictures) for line in _svg_one(shown, 20 + 170 * i)]
    height = 170 * len(pictures) + 10
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="760" height="{height}" viewBox="0 0 760 {height}">'
    return "\n".join([head, '<rect width="100%" height="100%" fill="white"/>', *body, "</svg>"]) + "\n"


def _svg_one(shown: Picture, top: int) -> list[str]:
    low, high = shown.values[0], shown.values[-1]
    out = [_text(20, top, f"{shown.title}: {len(shown.values)} values from {low:g} to {high:g}", 15)]
    x = 20
    for name, bits in shown.fields:
        colour = _COLOURS.get(name, "#555555")
        out += [f'<rect x="{x + 24 * i}" y="{top + 10}" width="24" height="24" fill="{colour}" stroke="white"/>'
                for i in range(bits)]  # fmt: skip
        out.append(_text(x, top + 48, f"{bits} {name}" if bits > 2 else name[:4], 11))
        x += 24 * bits
    windows = [(low, high), (-_WINDOW, _WINDOW)] if high > 4 * _WINDOW and len(shown.fields) > 1 else [(low, high)]
    for row, (start, end) in enumerate(windows):
        out += _svg_line(shown.values, (start, end), top + 80 + 45 * row)
    return out


def _svg_line(values: tuple[float, ...], ends: tuple[float, float], y: int) -> list[str]:
    """A tick per value; ticks on the same quarter of a pixel are drawn once."""
    low, high = ends
    places = sorted({round(20 + 720 * (v - low) / (high - low), 2 if len(values) < 1000 else 0)
                     for v in values if low <= v <= high})  # fmt: skip
    ticks = "".join(f"M{x:g} {y - 8}v16" for x in places)
    axis = f'<path d="M20 {y}H740" stroke="#999999"/>'
    ends_in_words = [_text(20, y + 22, f"{low:g}", 11), _text(680, y + 22, f"{high:g}", 11)]
    return [axis, f'<path d="{ticks}" stroke="black"/>', *ends_in_words]


def _text(x: int, y: int, words: str, size: int) -> str:
    return f'<text x="{x}" y="{y}" font-family="sans-serif" font-size="{size}">{escape(words)}</text>'
