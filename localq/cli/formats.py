"""`localq formats`: every format of the registry, and how its weights are multiplied on each kind of device."""

from __future__ import annotations

import argparse
from typing import Any

from localq.cli.output import Output, table
from localq.cli.parser import add_json
from localq.inspect.formats import FormatFacts, describe_formats

DEVICES = ("cpu", "metal", "cuda")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--architectures", action="store_true", help="instead the architectures: containers, checked against whom"
    )
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the table; says where MLX is missing, because then nothing runs."""
    if args.architectures:
        return _architectures(out)
    rows = [(facts, how_it_runs(facts)) for facts in describe_formats()]
    if out.json:
        out.object([as_dict(facts, runs) for facts, runs in rows])
        return 0
    out.data(table([HEAD, *(as_cells(facts, runs) for facts, runs in rows)], right=(2, 3)))
    out.say(
        "\nnative: MLX's own kernel for that mode, weights stay packed. own: localq's kernel for the format as stored. "
        "reference: unpacked in row blocks on every call, slow and right."
    )
    return 0


def _architectures(out: Output) -> int:
    from localq.inspect.architectures import describe_architectures

    facts = describe_architectures()
    if out.json:
        out.object([one._asdict() for one in facts])
        return 0
    head = ("model_type", "GGUF", "safetensors", "GGUF checked against", "safetensors checked against")
    rows = [
        (
            one.model_type,
            ", ".join(one.gguf) or "-",
            "yes" if one.folder else "-",
            one.checked.get("gguf", "-"),
            one.checked.get("safetensors", "-"),
        )
        for one in facts
    ]
    out.data(table([head, *rows]))
    out.say("\nchecked: logits of tiny random models equal to that program's, in float32 and packed.")
    return 0


HEAD = (
    "format",
    "family",
    "bits/weight",
    "block",
    "scale",
    "zero point",
    "containers",
    "writes",
    "cpu",
    "metal, cuda",
    "checked against",
)


def how_it_runs(facts: FormatFacts) -> dict[str, str]:
    """Device -> implementation, as the kernel registry would choose it."""
    from localq.formats import FORMATS
    from localq.kernels.registry import choose

    runs = {}
    for device in DEVICES:
        wish = choose("matmul", FORMATS[facts.name].examples()[0], device)
        runs[device] = f"native {facts.native}" if wish == "native" and facts.native else "reference"
        if wish == "own":
            runs[device] = "own"
    return runs


def as_dict(facts: FormatFacts, runs: dict[str, str]) -> dict[str, Any]:
    """One format for JSON."""
    return {**facts._asdict(), "reads": True, **runs}


def as_cells(facts: FormatFacts, runs: dict[str, str]) -> tuple[str, ...]:
    """One format as a row under `HEAD`."""
    gpu = runs["metal"] if runs["metal"] == runs["cuda"] else f"{runs['metal']}; {runs['cuda']}"
    return (
        facts.name,
        facts.family,
        f"{facts.bits_per_weight:.4g}",
        str(facts.block),
        facts.scale or "none",
        "no" if facts.symmetric else "yes",
        ", ".join(facts.containers),
        "yes" if facts.writes else "no",
        runs["cpu"],
        gpu,
        facts.checked,
    )
