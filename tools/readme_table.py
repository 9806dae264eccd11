"""Writes the README's table of formats from the registry; a test fails when the README is behind.

python tools/readme_table.py           prints it
python tools/readme_table.py --write   puts it into README.md
"""

from __future__ import annotations

import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- formats: written by tools/readme_table.py -->", "<!-- end of formats -->"


def table() -> str:
    """The registry as Markdown; MLX's affine family, many sizes of one thing, is one row."""
    from localq.cli.formats import how_it_runs
    from localq.inspect.formats import FormatFacts, describe_formats

    def row(name: str, bits: str, facts: FormatFacts) -> str:
        runs = how_it_runs(facts)
        gpu = "native" if runs["metal"].startswith("native") else "reference"
        cpu = "native" if runs["cpu"].startswith("native") else "reference"
        return f"| {name} | {bits} | {facts.scale} | {', '.join(facts.containers)} | {cpu} | {gpu} |"

    rows = [
        "| format | bits per weight | scales | found in | CPU | Metal, CUDA |",
        "| --- | ---: | --- | --- | --- | --- |",
    ]
    facts = describe_formats()
    affine = [f for f in facts if f.name.startswith("affine_")]
    for one in facts:
        if one not in affine:
            rows.append(row(f"`{one.name}`", f"{one.bits_per_weight:.4g}", one))
        elif one is affine[0]:
            span = f"{affine[0].bits_per_weight:.4g} to {affine[-1].bits_per_weight:.4g}"
            general = one._replace(scale="16-bit float scale and bias per group of 32, 64 or 128")
            codes = sorted({int(f.name.split("_")[1].removesuffix("bit")) for f in affine})
            names = f"`affine_Nbit_gG` ({len(affine)} formats: N = {', '.join(map(str, codes))})"
            rows.append(row(names, span, general))
    return "\n".join(rows)


def with_table(text: str) -> str:
    """`text` with the table between its two marks replaced."""
    before, _, rest = text.partition(START)
    _, _, after = rest.partition(END)
    return f"{before}{START}\n{table()}\n{END}{after}"


def main() -> int:
    if "--write" in sys.argv[1:]:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(table())
    return 0


if __name__ == "__main__":
    sys.exit(main())
