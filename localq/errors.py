"""Every refusal localq makes, and the exit code the command line gives it.

    LocalqError                1   something failed; the sentence says what
    ├── UsageError             2   the request itself is wrong (options, values, an empty prompt)
    ├── NotFoundError          3   no such model, file or name
    ├── DoesNotFitError        4   not enough memory, disk or context for what was asked
    └── CheckpointError        5   a checkpoint is damaged, lies about itself, or breaks its format
        └── UnsupportedError   5   a valid checkpoint that localq cannot run (yet): format, architecture, tokenizer

A message is one sentence: what was found, what was expected. `hint` is what to do next.
Only `localq.cli` turns an error into text and an exit code.
"""


class LocalqError(Exception):
    """Base of every error localq raises on purpose; `hint` says what to do next."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}" if self.hint else self.message


class UsageError(LocalqError):
    """The request is wrong: an unknown option value, an empty prompt, options that exclude each other."""

    exit_code = 2


class NotFoundError(LocalqError):
    """A model, file, tensor or name that does not exist."""

    exit_code = 3


class DoesNotFitError(LocalqError):
    """Memory, disk or context is too small; the message carries both numbers."""

    exit_code = 4


class CheckpointError(LocalqError):
    """A file is damaged, truncated, hostile or contradicts itself."""

    exit_code = 5


class UnsupportedError(CheckpointError):
    """A checkpoint that is valid but that localq does not know how to run."""
