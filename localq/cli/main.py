"""`localq VERB ...`: finds the verb, runs it, and turns every error into one sentence and an exit code.

Verbs are a table of modules imported only when used, and `--help` needs not even argparse: starting localq must
cost little more than starting Python.
"""

import os
import sys

from localq.errors import LocalqError, UsageError

# verb: (module, what it does). A module has `add_arguments(parser)` and `run(args, out) -> exit code`.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("localq.cli.run", "one answer to stdout; the prompt may come from stdin"),
    "chat": ("localq.cli.chat", "talk to a model, line by line"),
    "explain": ("localq.cli.explain", "what a checkpoint really is, from its headers"),
    "pull": ("localq.cli.pull", "fetch a model: continued where it stopped, checked by hash"),
    "list": ("localq.cli.list", "the models that are here, whichever program brought them"),
    "rm": ("localq.cli.rm", "remove a model and the bytes nothing else uses"),
    "fit": ("localq.cli.fit", "will it run here, how fast; the arithmetic shown"),
    "choose": ("localq.cli.choose", "which build of a model to take for this memory and task"),
    "formats": ("localq.cli.formats", "the formats localq knows, and how each runs"),
    "bench": ("localq.cli.bench", "speed, memory, and share of what the memory allows"),
    "doctor": ("localq.cli.doctor", "what is installed, what is wrong, and the command that mends it"),
}
ALIASES = {"ls": "list"}

EXIT_CODES = "0 ok, 1 failure, 2 usage, 3 not found, 4 does not fit, 5 unsupported or damaged, 130 interrupted"


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: the process's own) and return its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    debug = "--debug" in argv
    try:
        code = _dispatch(argv)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # the reader has gone (`| head`): not our failure; keep Python's own flush at exit quiet
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return 130
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _dispatch(argv: list[str]) -> int:
    leading = 0
    while leading < len(argv) and argv[leading] in ("-q", "--quiet", "-v", "--verbose", "--debug", "--json"):
        leading += 1
    flags, rest = argv[:leading], argv[leading:]
    if not rest or rest[0] in ("-h", "--help", "help"):
        (sys.stdout if rest else sys.stderr).write(help_text())
        return 0 if rest else 2
    if rest[0] in ("-V", "--version"):
        sys.stdout.write(f"localq {_version()}\n")
        return 0
    rest[0] = ALIASES.get(rest[0], rest[0])
    if rest[0] not in VERBS:
        raise _unknown(rest[0])
    return _run_verb(rest[0], [*rest[1:], *flags] if "--" not in rest else [*flags, *rest[1:]])


def _run_verb(verb: str, argv: list[str]) -> int:
    import importlib

    from localq.cli.output import Output
    from localq.cli.parser import make_parser

    module = importlib.import_module(VERBS[verb][0])
    parser = make_parser(verb, VERBS[verb][1])
    module.add_arguments(parser)
    args = parser.parse_args(argv)
    out = Output(json=getattr(args, "json", False), quiet=args.quiet, verbose=args.verbose)
    return int(module.run(args, out))


def help_text() -> str:
    """The page `localq --help` prints."""
    verbs = "\n".join(f"  {name:<9}{what}" for name, (_, what) in VERBS.items())
    return (
        f"usage: localq VERB ...\n\nReads, explains and runs quantised language models.\n\n{verbs}\n\n"
        "Every verb: --help, -q (quiet), -v (verbose), --debug (traceback); --json where a verb prints a table.\n"
        "MODEL is 'demo' (bundled), a folder, a .gguf or .safetensors file, org/name[:LABEL] or a bare name of the\n"
        f"Hugging Face hub, or ollama:NAME.\n\nExit codes: {EXIT_CODES}.\n"
    )


def _version() -> str:
    from importlib import metadata

    return metadata.version("localq")


def _unknown(word: str) -> UsageError:
    import difflib

    if word.startswith("-"):
        return UsageError(f"Unknown option '{word}' before the verb.", "See: localq --help")
    near = difflib.get_close_matches(word, VERBS, 1, 0.5)
    hint = f"Did you mean 'localq {near[0]}'?" if near else f"Verbs are {', '.join(VERBS)}."
    return UsageError(f"There is no verb '{word}'.", hint)


def _report(error: Exception) -> int:
    """Write `error` as one sentence and a hint on stderr; returns the exit code."""
    from localq.cli.output import write_error

    if isinstance(error, LocalqError):
        write_error(error.message, error.hint)
        return error.exit_code
    if isinstance(error, MemoryError):
        write_error("There is not enough memory for this.", "Try a smaller build of the model or a shorter --context.")
        return 4
    if isinstance(error, OSError) and error.filename:
        write_error(f"{error.strerror}: '{error.filename}'.")
        return 3 if isinstance(error, FileNotFoundError) else 1
    write_error(f"Something localq did not expect: {type(error).__name__}: {error}", "--debug shows where.")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
