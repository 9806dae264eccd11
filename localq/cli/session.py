"""Opening a model for a verb, and the options of answering that `run` and `chat` share."""

from __future__ import annotations

import argparse
import warnings
from typing import TYPE_CHECKING, Any

from localq.cli.output import Output
from localq.cli.parser import add_model, natural, number, positive, share
from localq.settings import Settings, load_settings

if TYPE_CHECKING:
    from localq.api import Model
    from localq.generate.reply import Stats

_SAMPLING = ("max_tokens", "temperature", "top_p", "top_k", "min_p", "seed")


def add_answering(parser: argparse.ArgumentParser) -> None:
    """MODEL and everything that decides how it answers; unset options come from the settings, then the model."""
    add_model(parser)
    parser.add_argument("-n", "--max-tokens", type=positive, metavar="N", help="longest answer, in tokens")
    parser.add_argument("--temperature", "--temp", type=number, metavar="T", help="0 is greedy")
    parser.add_argument("--top-p", type=share, metavar="P", help="likeliest tokens that make up this share")
    parser.add_argument("--top-k", type=natural, metavar="K", help="this many likeliest tokens; 0: all")
    parser.add_argument("--min-p", type=share, metavar="P", help="drop tokens below this share of the likeliest")
    parser.add_argument("--repetition-penalty", type=number, metavar="X", help="above 1: repeat less")
    parser.add_argument("--presence-penalty", type=float, metavar="X", help="above 0: repeat less")
    parser.add_argument("--seed", type=natural, metavar="N", help="the same seed, the same answer")
    parser.add_argument("--system", metavar="TEXT", help="system message")
    parser.add_argument("--stop", action="append", metavar="TEXT", help="end the answer before this; may be repeated")
    parser.add_argument("--stats", action="store_true", help="tokens, seconds and tokens per second on stderr")


def open_model(args: argparse.Namespace, out: Output) -> tuple[Model, Settings]:
    """Load the model of the command line, with the settings that were in force."""
    from localq.hub.refs import resolve

    settings = load_settings()
    _say_warnings(out)
    where = resolve(args.model, args.revision)
    out.detail(f"opening {where}")
    from localq.api import load

    model = load(
        where,
        engine=args.engine or settings["engine"],
        kv_cache_dtype=args.kv_cache_dtype or settings["kv_cache_dtype"],
        context=args.context or settings["context"],
    )
    out.detail(f"engine {model.engine.name}, context {model.context} tokens")
    return model, settings


def sampling_options(args: argparse.Namespace, settings: Settings) -> dict[str, Any]:
    """Options for `Model.chat_pieces`: the command line over the settings; None leaves it to the model."""
    options = {name: settings[name] if getattr(args, name) is None else getattr(args, name) for name in _SAMPLING}
    options["repetition_penalty"] = args.repetition_penalty
    options["presence_penalty"] = args.presence_penalty
    options["stop"] = tuple(args.stop) if args.stop else None
    return options


def stats_line(stats: Stats) -> str:
    """How an answer went, in one line."""

    def rate(value: float | None) -> str:
        return "-" if value is None else f"{value:.1f} tokens/s"

    first = "-" if stats.time_to_first_token is None else f"{stats.time_to_first_token:.2f} s to the first token"
    return (
        f"prompt {stats.prompt_tokens} tokens, {first} ({rate(stats.prefill_tokens_per_second)}); "
        f"answer {stats.generated_tokens} tokens, {rate(stats.decode_tokens_per_second)}"
        + (f"; ended by {stats.finish_reason}" if stats.finish_reason else "; stopped")
    )


def _say_warnings(out: Output) -> None:
    """Python's warnings as talk: one line instead of a file name and a line of source."""

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
            out.say(f"localq: warning: {message}")

    warnings.showwarning = show
