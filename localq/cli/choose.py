"""`localq choose MODEL`: every build of a model in one table, one marked, with the reason."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from localq.cli.fit import DOES_NOT_FIT, add_target, target_of
from localq.cli.output import Output, printable, size, table
from localq.cli.parser import add_json, positive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.fit.choose import Candidate, Choice, Offer
    from localq.fit.machines import Target
    from localq.labels.label import Label

DEFAULT_CONTEXT = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="a model's name, like Qwen3-8B, or org/name")
    add_target(parser)
    parser.add_argument("--context", type=positive, default=DEFAULT_CONTEXT, metavar="N", help="tokens (default: 8192)")
    parser.add_argument("--kv-cache-dtype", metavar="TYPE", help="f16, fp8, q8_0, q4_0, ...")
    parser.add_argument("--task", choices=("general", "reasoning", "coding"), default="general")
    parser.add_argument("--curve", action="store_true", help="draw size against published quality")
    parser.add_argument("-o", "--output", metavar="FILE.svg", help="with --curve: write the picture there")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """List, mark, explain; exit code 4 if nothing fits."""
    from localq.errors import UsageError
    from localq.fit.choose import choose
    from localq.labels.grammar import read_label

    if args.output and not args.curve:
        raise UsageError("--output goes with --curve.", "Add --curve.")
    target = target_of(args)
    asked = read_label(args.model)
    offers = _offers(args.model, asked, out)
    choice = choose(offers, _config(offers), target, args.context, args.kv_cache_dtype, args.task)
    if args.curve:
        _draw(args, choice, out)
    elif out.json:
        out.object(_plain(choice, target))
    else:
        _show(choice, target, args.context, out)
    return 0 if choice.best else DOES_NOT_FIT


def _offers(ref: str, asked: Label, out: Output) -> list[Offer]:
    """What is here and what the hub has; without the hub what is here, and that is said."""
    from localq.errors import LocalqError, NotFoundError
    from localq.fit.gather import from_here, from_hub, merged, named
    from localq.hub.listing import read_listing, search

    if (alone := named(ref, asked)) is not None:
        return [alone]
    here = from_here(asked)
    try:
        return merged(here, from_hub(asked, search, read_listing))
    except NotFoundError:
        if not here:
            raise
    except LocalqError as error:
        if not here:
            raise
        out.say(f"Only builds on this machine are listed: {error.message}")
    return here


def _config(offers: list[Offer]) -> Mapping[str, Any]:
    from localq.fit.gather import config_of
    from localq.inspect.remote import open_headers

    def read(offer: Offer) -> Mapping[str, Any] | None:
        with open_headers(offer.ref) as checkpoint:
            return checkpoint.config

    return config_of(offers, read)


def _show(choice: Choice, target: Target, context: int, out: Output) -> None:
    from localq.fit.quality import SOURCE

    rows: list[tuple[str, ...]] = [
        ("", "build", "bits/weight", "size", "needs", "fits", "quality (KLD)", "engine here")
    ]
    rows.extend(_row(candidate, choice.best) for candidate in choice.candidates)
    out.data(f"On {printable(target.name)}, {size(target.limit)}, {context} tokens of context:")
    out.data(table(rows, right=(2, 3, 4)))
    out.data(f"Quality: KL divergence of the scheme, less is better ({SOURCE}); '-' is not measured.")
    if choice.best is not None:
        out.data(f"Take {printable(choice.best.offer.ref)}: {choice.reason}")
    else:
        out.data(choice.reason)
    if target.note:
        out.say(target.note + ".")


def _row(candidate: Candidate, best: Candidate | None) -> tuple[str, ...]:
    offer = candidate.offer
    return (
        "->" if candidate is best else "",
        printable(offer.ref) + (" (here)" if offer.here else ""),
        f"{candidate.bits:.2f}" if candidate.bits else "-",
        size(offer.nbytes),
        size(candidate.need.total),
        "yes" if candidate.fits else "no",
        f"{candidate.quality.kld:.4f}" if candidate.quality else "-",
        candidate.engine,
    )


def _plain(choice: Choice, target: Target) -> dict[str, Any]:
    return {
        "machine": target.name,
        "limit": target.limit,
        "take": choice.best.offer.ref if choice.best else None,
        "reason": choice.reason,
        "builds": [
            {
                "ref": c.offer.ref,
                "label": c.offer.label.to_dict(),
                "bytes": c.offer.nbytes,
                "bits_per_weight": c.bits and round(c.bits, 3),
                "needs": c.need.total,
                "fits": c.fits,
                "kld": c.quality.kld if c.quality else None,
                "here": c.offer.here,
                "engine": c.engine,
            }
            for c in choice.candidates
        ],
    }


def _draw(args: argparse.Namespace, choice: Choice, out: Output) -> None:
    from localq.fit.curve import points, svg, text

    found = points(choice.candidates, choice.best)
    if not args.output:
        out.data(text(found))
        return
    import os

    part = f"{args.output}.part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(svg(found, f"{args.model}: size and quality"))
    os.replace(part, args.output)
    out.say(f"Wrote {args.output}.")
