"""`localq run MODEL [PROMPT]`: one answer to stdout."""

from __future__ import annotations

import argparse
import sys

from localq.cli.output import Output, paint
from localq.cli.session import add_answering, open_model, sampling_options, stats_line
from localq.errors import UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answering(parser)
    parser.add_argument("prompt", nargs="?", metavar="PROMPT", help="default, or with '-': read from stdin")
    parser.add_argument("--raw", action="store_true", help="continue the prompt as it stands, without chat template")


def run(args: argparse.Namespace, out: Output) -> int:
    """The prompt is checked before the model is loaded: a mistake should not cost a minute."""
    prompt = _prompt(args.prompt)
    if args.raw and args.system:
        raise UsageError("--raw and --system exclude each other.", "Write the system message into the prompt.")
    model, settings = open_model(args, out)
    raw = args.raw or model.template is None
    if raw and not args.raw:
        out.say("localq: this model has no chat template; the prompt is continued as it stands.")
    system = args.system if raw else args.system or settings["system"]
    reply = model.chat_pieces(prompt, raw=raw, system=system, **sampling_options(args, settings))
    try:
        for piece in reply:
            if piece.kind == "text":
                sys.stdout.write(piece.text)
                sys.stdout.flush()
            elif out.verbose:
                sys.stderr.write(paint(piece.text, "2", sys.stderr))
        sys.stdout.write("\n")
    finally:
        reply.close()
    if reply.stats.finish_reason == "length":
        out.detail(f"localq: the answer was cut at {reply.stats.generated_tokens} tokens.")
    if args.stats:
        sys.stderr.write(stats_line(reply.stats) + "\n")
    return 0


def _prompt(given: str | None) -> str:
    if given not in (None, "-"):
        text = given or ""
    elif sys.stdin is None or sys.stdin.isatty():
        raise UsageError("There is no prompt.", "Give one: localq run MODEL 'Why is the sky blue?', or pipe it in.")
    else:
        text = _read_stdin()
    if not text.strip():
        raise UsageError("The prompt is empty.", "Give the model something to answer.")
    return text


def _read_stdin() -> str:
    try:
        return sys.stdin.read()
    except UnicodeDecodeError as error:
        raise UsageError(f"The prompt on stdin is not UTF-8 text (byte {error.start}).") from error
