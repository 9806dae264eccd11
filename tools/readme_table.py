"""Writes the README's table of formats from the registry; a test fails when the README is behind.

python tools/readme_table.py           prints it, and the one of architectures
python tools/readme_table.py --write   puts them into README.md
"""

from __future__ import annotations

import sys
from pathlib import Path

README = Path(__file__).resolve().parent.parent / "README.md"
START, END = "<!-- formats: written by tools/readme_table.py -->", "<!-- end of formats -->"

ARCHITECTURES = "<!-- architectures: written by tools/readme_table.py -->"
END_ARCHITECTURES = "<!-- end of architectures -->"


def table() -> str:
    """The registry as Markdown; MLX's affine family, many sizes of one thing, is one row."""
    from localq.cli.formats import how_it_runs
    from localq.inspect.formats import FormatFacts, describe_formats

    def row(name: str, bits: str, facts: FormatFacts) -> str:
        runs = how_it_runs(facts)
        assert runs["metal"].split()[0] == runs["cuda"].split()[0], runs  # one column for both
        gpu = runs["metal"].split()[0]
        writes = "yes" if facts.writes else "no"
        cpu = "native" if runs["cpu"].startswith("native") else "reference"
        cells = (name, bits, facts.scale, ", ".join(facts.containers), writes, cpu, gpu, facts.checked)
        return f"| {' | '.join(cells)} |"

    rows = [
        "| format | bits per weight | scales | found in | writes | CPU | Metal, CUDA | checked against |",
        "| --- | ---: | --- | --- | --- | --- | --- | --- |",
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


def architectures() -> str:
    """GGUF's architectures as a table, then those that run from a folder alone."""
    from localq.inspect.architectures import describe_architectures

    facts = describe_architectures()
    rows = ["| GGUF | `model_type` | checked against |", "| --- | --- | --- |"]
    stems = sorted({stem for one in facts for stem in one.gguf})
    for stem in stems:
        types = [one for one in facts if stem in one.gguf]
        names = ", ".join(f"`{one.model_type}`" for one in types)
        checked = sorted(
            {who for one in types for said in one.checked.values() for who in said.split(", ")}
        )
        rows.append(f"| `{stem}` | {names} | {', '.join(checked)} |")
    alone = ", ".join(
        f"`{one.model_type}`" + (" (transformers too)" if "transformers" in one.checked["safetensors"] else "")
        for one in facts
        if not one.gguf
    )
    return "\n".join(rows) + f"\n\nFrom safetensors alone, checked against mlx-lm: {alone}."


def with_table(text: str) -> str:
    """`text` with what stands between each pair of marks replaced."""
    text = _between(text, START, END, table())
    return _between(text, ARCHITECTURES, END_ARCHITECTURES, architectures()) if ARCHITECTURES in text else text


def _between(text: str, start: str, end: str, content: str) -> str:
    before, _, rest = text.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n{content}\n{end}{after}"


def main() -> int:
    if "--write" in sys.argv[1:]:
        README.write_text(with_table(README.read_text(encoding="utf-8")), encoding="utf-8")
    else:
        print(f"{table()}\n\n{architectures()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
