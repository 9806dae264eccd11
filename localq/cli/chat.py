"""`localq chat MODEL`: a conversation, line by line; on a terminal with editing, in a pipe one line a turn."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from localq.cli.output import Output, paint, write_error
from localq.cli.session import add_answering, open_model, sampling_options, stats_line
from localq.errors import LocalqError, UsageError

if TYPE_CHECKING:
    from localq.api import Model
    from localq.generate.reply import Reply, Stats

COMMANDS = {
    "/help": "this list",
    "/clear": "forget the conversation",
    "/system": "/system TEXT sets the system message, /system alone shows it",
    "/stats": "how the last answer went",
    "/exit": "leave (also Ctrl-D)",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answering(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Talk until the input ends; in a pipe the exit code is that of the last failed turn, on a terminal 0."""
    model, settings = open_model(args, out)
    if model.template is None:
        raise UsageError(
            f"'{args.model}' has no chat template, so it does not know turns.",
            f"Continue a text instead: localq run {args.model} --raw 'Once upon a time'",
        )
    chat = Chat(model, sampling_options(args, settings), args.system or settings["system"], args.stats)
    terminal = sys.stdin.isatty() and sys.stdout.isatty()
    if terminal:
        out.say(f"{args.model} ({model.engine.name}). /help lists the commands, Ctrl-C stops an answer.")
    code = 0
    for line in _terminal_lines() if terminal else _piped_lines():
        if line.strip() == "/exit" or line.strip() == "/quit":
            break
        try:
            chat.take(line)
        except LocalqError as error:
            write_error(error.message, error.hint)
            code = error.exit_code
    return 0 if terminal else code


class Chat:
    """A conversation: the messages so far and how to answer the next."""

    def __init__(self, model: Model, options: dict[str, Any], system: str | None, show_stats: bool = False) -> None:
        self.model, self.options, self.system = model, options, system
        self.show_stats = show_stats
        self.messages: list[dict[str, str]] = []
        self.last: Stats | None = None

    def take(self, line: str) -> None:
        """One line of input: a command, a message, or nothing."""
        text = line.strip()
        if text.startswith("/"):
            self.command(text)
        elif text:
            self.answer(text)

    def command(self, text: str) -> None:
        """Carry out a line that begins with a slash.

        Raises:
            UsageError: an unknown command.
        """
        word, _, rest = text.partition(" ")
        if word == "/help":
            sys.stderr.write("".join(f"  {name:<9}{what}\n" for name, what in COMMANDS.items()))
        elif word == "/clear":
            self.messages.clear()
            sys.stderr.write("The conversation is forgotten.\n")
        elif word == "/system":
            self.system = rest.strip() or self.system
            sys.stderr.write(f"System message: {self.system or 'none'}\n")
        elif word == "/stats":
            sys.stderr.write((stats_line(self.last) if self.last else "Nothing was answered yet.") + "\n")
        else:
            import difflib

            near = difflib.get_close_matches(word, COMMANDS, 1, 0.5)
            raise UsageError(f"There is no command '{word}'.", f"Did you mean {near[0]}?" if near else "See /help.")

    def answer(self, text: str) -> None:
        """Send a message and print the answer as it comes; a failed turn leaves the conversation as it was."""
        asked = [*self.messages, {"role": "user", "content": text}]
        reply = self.model.chat_pieces(asked, system=self.system, **self.options)
        self.last = reply.stats
        said = self._print(reply)
        self.messages = [*asked, {"role": "assistant", "content": said}]
        if self.show_stats:
            sys.stderr.write(stats_line(reply.stats) + "\n")

    def _print(self, reply: Reply) -> str:
        """Write the pieces; reasoning is dimmed on a terminal and left out of a pipe and of the conversation."""
        said: list[str] = []
        try:
            for piece in reply:
                if piece.kind == "text":
                    said.append(piece.text)
                    sys.stdout.write(piece.text)
                elif sys.stdout.isatty():
                    sys.stdout.write(paint(piece.text, "2", sys.stdout))
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
            sys.stderr.write(" [stopped]")
        finally:
            reply.close()
        sys.stdout.write("\n")
        sys.stdout.flush()
        return "".join(said)


def _piped_lines() -> Iterator[str]:
    try:
        yield from sys.stdin
    except UnicodeDecodeError as error:
        raise UsageError(f"The input is not UTF-8 text (byte {error.start}).") from error


def _terminal_lines() -> Iterator[str]:
    """Lines typed at a prompt, with history of this session; Ctrl-C clears the line, Ctrl-D ends."""
    from prompt_toolkit import PromptSession

    session: PromptSession[str] = PromptSession()
    while True:
        try:
            yield session.prompt("> ")
        except KeyboardInterrupt:
            continue
        except EOFError:
            return
