"""`localq explain PATH...`: what checkpoints really are, from their headers alone."""

from __future__ import annotations

import argparse
import os

from localq.cli.output import Output, printable, table
from localq.cli.parser import add_json
from localq.errors import LocalqError, NotFoundError
from localq.hub.refs import resolve
from localq.inspect.truth import Truth


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", metavar="PATH", nargs="+", help="a folder, a .gguf or .safetensors file, or 'demo'")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Explain every path; with several, go on after a bad one and return the first failure's code."""
    truths: list[Truth] = []
    code = 0
    for ref in args.paths:
        try:
            truth = _truth(ref)
        except LocalqError as error:
            if len(args.paths) == 1:
                raise
            _complain(ref, error)
            code = code or error.exit_code
            continue
        truths.append(truth)
        if not out.json:
            _show(ref, truth, out, first=len(truths) == 1)
    if out.json:
        plain = [t.to_dict() for t in truths]
        out.object(plain[0] if len(args.paths) == 1 else plain)
    return code


def _truth(ref: str) -> Truth:
    from localq.checkpoints import open_checkpoint
    from localq.inspect.truth import read_truth

    if not os.path.exists(ref) and ref != "demo" and "/" not in ref and not ref.endswith((".gguf", ".safetensors")):
        ref = _cached_or_label(ref)
    with open_checkpoint(resolve(ref)) as checkpoint:
        return read_truth(checkpoint)


def _cached_or_label(ref: str) -> str:
    try:
        return resolve(ref)
    except NotFoundError as error:
        raise NotFoundError(
            f"There is no file, folder or cached model '{ref}', and this version of localq does not read labels yet.",
            "Give a path: localq explain model.gguf",
        ) from error


def _show(ref: str, truth: Truth, out: Output, first: bool) -> None:
    from localq.inspect.explain import histogram, rows

    if not first:
        out.data("")
    out.data(printable(ref))
    for label, words in rows(truth):
        out.data(f"  {label:<14} {printable(words)}")
    if truth.formats:
        lines = table(histogram(truth), right=(1, 2, 3, 4)).splitlines()
        out.data("\n" + "\n".join(f"  {line}" for line in lines))


def _complain(ref: str, error: LocalqError) -> None:
    from localq.cli.output import write_error

    write_error(f"{ref}: {error.message}", error.hint)
