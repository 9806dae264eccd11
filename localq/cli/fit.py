"""`localq fit MODEL`: will it run, how fast, and the arithmetic behind both."""

from __future__ import annotations

import argparse
import os
import re

from localq.checkpoints.base import Checkpoint
from localq.cli.output import Output, printable, size
from localq.cli.parser import add_json, positive
from localq.cli.start import import_numpy_on_first_use
from localq.fit.commands import ENGINES
from localq.fit.memory import CALIBRATION
from localq.fit.report import Fit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.fit.machines import Target

DOES_NOT_FIT = 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", help="'demo', a folder, a .gguf file, or org/name[:LABEL]")
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit of a repository")
    add_target(parser)
    parser.add_argument("--context", type=positive, metavar="N", help="tokens of prompt and answer (default: 8192)")
    parser.add_argument("--kv-cache-dtype", metavar="TYPE", help="f16, fp8, q8_0, q4_0, ...")
    parser.add_argument("--for", dest="engine", choices=ENGINES, help="print that engine's start command, nothing else")
    parser.add_argument("--gpus", type=positive, default=None, metavar="N", help="number of GPUs")
    add_json(parser)


def add_target(parser: argparse.ArgumentParser) -> None:
    """Which machine is meant; without either, this one."""
    parser.add_argument("--memory", metavar="SIZE", help="as 24GB: that much GPU memory instead of this machine's")
    parser.add_argument("--machine", metavar="NAME", help='as "M4 Pro 48GB", "RTX 4090" or "2x RTX 3090"')


def target_of(args: argparse.Namespace) -> Target:
    """The machine a command line means.

    Raises:
        UsageError: both are given, or one cannot be understood.
    """
    from localq.errors import UsageError
    from localq.fit.machines import named_machine, sized, this_machine

    if args.memory and args.machine:
        raise UsageError("--memory and --machine are both given.", "Give one of them.")
    if args.memory:
        return sized(args.memory)
    return named_machine(args.machine) if args.machine else this_machine()


def run(args: argparse.Namespace, out: Output) -> int:
    """Show the arithmetic; exit code 4 if the model does not fit."""
    from localq.fit.report import fit
    from localq.inspect.remote import open_headers

    import_numpy_on_first_use()
    target = target_of(args)
    if args.gpus and args.gpus != target.gpus:
        one = target.limit // target.gpus
        target = target._replace(gpus=args.gpus, limit=one * args.gpus, memory=one * args.gpus)
    with open_headers(args.model, args.revision, out.say) as checkpoint:
        found = fit(checkpoint, target, args.context, args.kv_cache_dtype)
        if args.engine:
            out.data(_command(args, checkpoint, found))
        elif out.json:
            out.object(found.to_dict())
        else:
            show(found, out)
    return 0 if found.fits else DOES_NOT_FIT


def _command(args: argparse.Namespace, checkpoint: Checkpoint, found: Fit) -> str:
    from localq.fit.commands import Job, command

    reference, local = _reference(args.model, checkpoint)
    job = Job(
        reference,
        local,
        checkpoint.container,
        tuple(checkpoint.formats),
        checkpoint.config or {},
        found.need.context,
        args.kv_cache_dtype,
        found.target.gpus,
        found.need.total,
        found.target.memory // found.target.gpus if found.target.device == "cuda" else 0,
    )
    return command(args.engine, job)


def _reference(model: str, checkpoint: Checkpoint) -> tuple[str, bool]:
    """What another engine may be given for this checkpoint, and whether that is a path."""
    from localq.inspect.remote import RemoteCheckpoint

    if isinstance(checkpoint, RemoteCheckpoint):
        return checkpoint.reference, False
    repository = re.fullmatch(r"[\w.-]+/[\w.-]+", model) and not os.path.exists(model)
    return (model, False) if repository and checkpoint.container != "gguf" else (checkpoint.path, True)


def show(found: Fit, out: Output) -> None:
    """The table of terms, the verdict, the speed."""
    target, wanted = found.target, found.need
    out.data(f"On {printable(target.name)}, {wanted.context} tokens of context:")
    for term in wanted.terms:
        out.data(f"  {term.name:<12}{size(term.nbytes):>10}   {term.arithmetic}")
    out.data(f"  {'together':<12}{size(wanted.total):>10}   of {size(target.limit)}")
    if found.fits:
        out.data(f"It fits; {size(target.limit - wanted.total)} stay free.")
    else:
        out.data(f"It does not fit: {size(wanted.total - target.limit)} too much.")
    out.data(_longest(found))
    out.data(_speed(found))
    if target.note:
        out.data(target.note + ".")
    out.detail(f"Calibration: {CALIBRATION}.")


def _longest(found: Fit) -> str:
    made_for = f"; the model was made for {found.trained}" if found.trained else ""
    if not found.largest:
        return f"No context fits{made_for}."
    return f"Longest context that fits: {found.largest} tokens{made_for}."


def _speed(found: Fit) -> str:
    speed = found.speed
    if speed.decode is None:
        return f"Speed: not estimated ({speed.words})."
    prefill = f", prompt about {speed.prefill:.0f} tokens/s" if speed.prefill else ""
    return f"Expect about {speed.decode:.3g} tokens/s{prefill}: {speed.words}. Not measured here."
