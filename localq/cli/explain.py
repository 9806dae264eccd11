"""`localq explain NAME...`: what a label says, what a checkpoint's headers say, and where the two differ."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from localq.cli.output import Output, printable, table
from localq.cli.parser import add_json
from localq.cli.start import import_numpy_on_first_use
from localq.errors import LocalqError, NotFoundError, UsageError

if TYPE_CHECKING:
    from localq.inspect.truth import Truth
    from localq.labels.label import Label

_HEADERS_OF = (".gguf", ".safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "names",
        metavar="NAME",
        nargs="+",
        help="a label (Q4_K_M), a name of a model or file, org/name, a folder, a .gguf or .safetensors file, 'demo'",
    )
    parser.add_argument("--picture", action="store_true", help="draw the number format: its bits, and all its values")
    parser.add_argument("--offline", action="store_true", help="read names only where nothing is on this machine")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="read all weights, and say for each format whether MLX's modes hold their very values",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="with --picture: write it there as SVG")
    add_json(parser)


class Answer:
    """What was found out about one name: a reading of it; headers (`local` ones, or by range request); a format."""

    def __init__(self, name: str, label: Label, truth: Truth | None, local: bool = False) -> None:
        self.name = name
        self.label = label
        self.truth = truth
        self.local = local
        self.on_hub = False  # whether headers are to be asked for there
        self.format_rows: list[tuple[str, str]] = [] if truth else _format_rows(name, label)

    def says_nothing(self) -> bool:
        """Whether the name alone tells nothing: no field but words that may be anything."""
        if self.truth or self.format_rows or not set(self.label.to_dict()) <= {"organisation", "family"}:
            return False
        from localq.labels.words import FAMILIES

        return self.label.family not in FAMILIES.values()

    def differences(self) -> list[str]:
        """Sentences, none without headers."""
        if self.truth is None:
            return []
        from localq.inspect.differences import differences

        return differences(self.label, self.truth)

    def to_dict(self) -> dict[str, Any]:
        """Headers at the top level, as `Truth` has them; the reading under "label"."""
        from localq.inspect.label_words import packing_rows

        plain: dict[str, Any] = self.truth.to_dict() if self.truth else {}
        label = self.label
        known: dict[str, Any] = {"text": label.text, **label.to_dict()}
        known |= {"unknown": list(label.unknown), "notes": list(label.notes)}
        plain["label"] = known
        explained = [{"about": about, "words": words} for about, words in self.format_rows or packing_rows(label)]
        if explained:
            plain["explained"] = explained
        if self.truth:
            plain["differences"] = self.differences()
        return plain


def run(args: argparse.Namespace, out: Output) -> int:
    """Explain every name; with several, go on after a bad one and return the first failure's code."""
    import_numpy_on_first_use()
    if args.output and not args.picture:
        raise UsageError("-o writes a picture, and none was asked for.", "Add --picture.")
    answers: list[Answer] = []
    code = 0
    for name in args.names:
        try:
            answer = _answer(name, args.offline, args.measure)
            if not out.json:
                _show(answer, out, first=not answers)
            if answer.on_hub:
                _ask_hub(answer, out)
        except LocalqError as error:
            if len(args.names) == 1:
                raise
            _complain(name, error)
            code = code or error.exit_code
            continue
        answers.append(answer)
        if answer.truth and not out.json:
            _show_truth(answer, out)
    if args.picture:
        _pictures(answers, args.output, out)
    if out.json:
        plain = [answer.to_dict() for answer in answers]
        out.object(plain[0] if len(args.names) == 1 else plain)
    return code


def _answer(name: str, offline: bool, measured: bool) -> Answer:
    """The headers of what is here (and its weights, if they are to be measured), else a reading of the name."""
    from localq.labels import read_label

    path = _here(name)
    if path is not None:
        from localq.checkpoints import open_checkpoint
        from localq.inspect.truth import read_truth

        with open_checkpoint(path) as checkpoint:
            return Answer(name, read_label(_base(name)), read_truth(checkpoint, measured), local=True)
    if measured:
        raise UsageError(f"'{name}' is not here; only weights on this machine can be measured.", "Leave --measure out.")
    from localq.hub.client import is_offline

    answer = Answer(name, read_label(name), None)
    answer.on_hub = not offline and _is_repository(name) and not is_offline()
    if answer.says_nothing() and not answer.on_hub:
        raise NotFoundError(
            f"'{name}' is neither a file or folder here nor a cached model, and it is no label localq can read.",
            "Give a path, org/name, or a label such as Q4_K_M, W4A16 or Qwen3.6-27B-AWQ.",
        )
    return answer


def _is_repository(name: str) -> bool:
    """Whether it is spelt like something of the hub: org/name, with a label or a file perhaps, or an address."""
    address = name.lower().startswith(("hf://", "http://", "https://", "hf.co/", "huggingface.co/"))
    return address or (name.count("/") == 1 and not name.lower().endswith(_HEADERS_OF) and " " not in name)


def _ask_hub(answer: Answer, out: Output) -> None:
    """Headers by range request, nothing downloaded. Where that fails the reading of the name stands, with a word why.

    Raises:
        LocalqError: it failed, and the name alone tells nothing either.
    """
    from localq.hub.pull import plan_pull
    from localq.hub.refs import parse
    from localq.hub.selection import Wish
    from localq.inspect.remote import remote_truth

    try:
        answer.truth = remote_truth(plan_pull(parse(answer.name), Wish()), answer.name)
    except LocalqError as error:
        if answer.says_nothing():
            raise
        out.say(f"{printable(answer.name)}: only the name was read. {printable(str(error))}")


def _here(name: str) -> str | None:
    """The folder or file that `name` means on this machine; None where it is only a name.

    Raises:
        LocalqError: it can only mean a file, and there is none; a cached repository needs a label.
    """
    if os.path.exists(name):
        return name
    if _is_only_a_name(name):
        return None
    from localq.hub.refs import resolve

    if name == "demo" or _is_path(name) or name.lower().startswith("ollama:"):
        return resolve(name)
    try:
        return resolve(name)
    except NotFoundError:
        return None


def _is_only_a_name(name: str) -> bool:
    """A file's bare name or a label with no repository: no cache needs to be looked at for `Q4_K_M`."""
    short = "/" not in name and name != "demo" and len(name) < 12
    return short and not name.lower().endswith(_HEADERS_OF) and not name.lower().startswith("ollama:")


def _is_path(name: str) -> bool:
    return name.startswith((".", "/", "~", os.sep)) or ("\\" in name)


def _base(name: str) -> str:
    """A path's last part, and the folder's name for files that are called `model`."""
    if not os.path.exists(name):
        return name
    path = os.path.abspath(name)
    base = os.path.basename(path)
    return os.path.basename(os.path.dirname(path)) if base.startswith("model") and os.path.isfile(path) else base


def _format_rows(name: str, label: Label) -> list[tuple[str, str]]:
    """Rows of a registered format, where `name` is one's own name and no recipe's or scheme's."""
    from localq.inspect.knowledge.cards import card_for

    if not name.replace("_", "").isalnum() or name != name.lower() or (label.scheme and card_for(label)):
        return []
    from localq.inspect.label_words import format_rows

    return format_rows(name)


def _show(answer: Answer, out: Output, first: bool) -> None:
    if not first:
        out.data("")
    out.data(printable(answer.name))
    if not answer.local:
        _show_reading(answer, out)


def _show_reading(answer: Answer, out: Output) -> None:
    """A registered format's facts, or the name piece by piece and what is known about its packing."""
    from localq.inspect.label_words import packing_rows, piece_rows

    if answer.format_rows:
        _rows(answer.format_rows, out)
        return
    _rows([(printable(piece), words) for piece, words in piece_rows(answer.label)], out)
    if rows := packing_rows(answer.label):
        out.data("")
        _rows(rows, out)
    for note in answer.label.notes:
        out.data(f"  note: {note}")
    if answer.label.unknown:
        out.data(f"  unknown: {printable(', '.join(answer.label.unknown))}")


def _show_truth(answer: Answer, out: Output) -> None:
    from localq.inspect.explain import histogram, rows

    truth = answer.truth
    assert truth is not None
    if not answer.local:
        out.data("\n  Its files:")
    _rows(rows(truth), out)
    if truth.formats:
        lines = table(histogram(truth), right=(1, 2, 3, 4)).splitlines()
        out.data("\n" + "\n".join(f"  {line}" for line in lines))
    if set(answer.label.to_dict()) - {"organisation", "family", "container"}:
        found = answer.differences()
        out.data("")
        _rows([("the name says", printable(str(answer.label)))], out)
        _rows(
            [("but", printable(sentence)) for sentence in found] or [("and", "the headers do not contradict it")], out
        )


def _rows(rows: list[tuple[str, str]], out: Output) -> None:
    width = max((len(name) for name, _ in rows), default=0)
    for name, words in rows:
        out.data(f"  {name:<{max(width, 14)}} {printable(words)}")


def _pictures(answers: list[Answer], file: str | None, out: Output) -> None:
    """Draw every number format the answers name, on stdout or as SVG."""
    from localq.inspect.picture import draw, kinds_of, picture, svg

    kinds = list(dict.fromkeys(kind for answer in answers for kind in kinds_of(answer.label)))
    if not kinds:
        raise UsageError(
            "No number format to draw: codes are vectors or ternary, or the name does not say.",
            "Try: localq explain --picture Q8_0 BF16 FP8-E4M3 NVFP4 nf4 IQ4_NL",
        )
    pictures = [picture(kind) for kind in kinds]
    if file:
        with open(file, "w", encoding="utf-8") as stream:
            stream.write(svg(pictures))
        out.say(f"Wrote {file}: {', '.join(shown.title for shown in pictures)}.")
    elif not out.json:
        for shown in pictures:
            out.data("\n" + "\n".join(f"  {line}" for line in draw(shown)))


def _complain(name: str, error: LocalqError) -> None:
    from localq.cli.output import write_error

    write_error(f"{name}: {error.message}", error.hint)
