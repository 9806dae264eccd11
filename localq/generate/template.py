"""Chat templates: messages to the text a model was trained on, by the Jinja program that came with the weights.

A template is foreign code and runs in `sandbox`. What it is given is what transformers gives it (`messages`, `tools`,
`documents`, `add_generation_prompt`, the special tokens by name). It is the only authority on special tokens of a
chat: no BOS is put before what it renders, as in transformers' `apply_chat_template` (llama.cpp adds one where the
template wrote none).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import TemplateError

from localq.checkpoints.base import Checkpoint
from localq.errors import CheckpointError, UsageError
from localq.generate.sandbox import BoundedEnvironment
from localq.generate.tokenizer_files import read_json

Message = Mapping[str, Any]

MAX_TEMPLATE = 1 << 20  # characters of the template; real ones have at most some 20,000


class ChatTemplate:
    """A compiled template; `render` turns messages into the text the model was trained on."""

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """Raises CheckpointError for a template that is too long or does not compile."""
        if len(source) > MAX_TEMPLATE:
            raise CheckpointError(f"The chat template has {len(source)} characters; localq reads {MAX_TEMPLATE}.")
        self.source = source
        self._special = dict(special_tokens or {})
        self._env = BoundedEnvironment()
        try:
            self._template = self._env.from_string(source)
        except (TemplateError, RecursionError, ValueError, SyntaxError, MemoryError, OverflowError) as err:
            raise CheckpointError(f"The checkpoint's chat template does not compile: {_words(err)}") from err

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = True, **variables: Any) -> str:
        """Text of a conversation; `variables` are extra ones ("enable_thinking", "tools").

        Raises:
            CheckpointError: the template refused the messages (its own words), broke, or ran out of bounds.
        """
        given: dict[str, Any] = {"tools": None, "documents": None, **self._special, **variables}
        given |= {"messages": [dict(m) for m in messages], "add_generation_prompt": add_generation_prompt}
        self._env.start()
        out: list[str] = []
        size = 0
        try:
            for piece in self._template.generate(given):
                size += len(piece)
                self._env.check_size(size)
                out.append(piece)
        except Exception as err:  # template code is foreign code: whatever it raises is its own failure
            raise CheckpointError(f"The checkpoint's chat template failed: {_words(err)}") from err
        return "".join(out)


def open_template(ckpt: Checkpoint, special_tokens: Mapping[str, str]) -> ChatTemplate | None:
    """The chat template of a checkpoint: chat_template.jinja, tokenizer_config.json, or GGUF metadata; else None.

    Raises:
        CheckpointError: a template that is no text or does not compile.
    """
    source = _source(ckpt)
    if source is None:
        return None
    if not isinstance(source, str):
        raise CheckpointError(f"The checkpoint's chat template is a {type(source).__name__}; expected text.")
    return ChatTemplate(source, special_tokens)


def check_messages(messages: Sequence[Message]) -> None:
    """Raises UsageError for an empty conversation or a message without role or content."""
    if not messages:
        raise UsageError("The conversation is empty; give at least one message.")
    for i, message in enumerate(messages):
        if not isinstance(message, Mapping) or not isinstance(message.get("role"), str):
            raise UsageError(f"Message {i} has no role; write {{'role': 'user', 'content': '...'}}.")
        if "content" not in message and "tool_calls" not in message:
            raise UsageError(f"Message {i} ({message['role']}) has no content.")


def _source(ckpt: Checkpoint) -> Any:
    data = ckpt.file("chat_template.jinja")
    if data is not None:
        try:
            return data.decode()
        except UnicodeDecodeError as err:
            raise CheckpointError(f"chat_template.jinja is not UTF-8: {err}.") from err
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _default_of(read_json(ckpt.file, name).get("chat_template"))
        if found is not None:
            return found
    return ckpt.metadata.get("tokenizer.chat_template") if ckpt.container == "gguf" else None


def _default_of(value: Any) -> Any:
    """One template, or the one called "default" of a list of named ones."""
    if not isinstance(value, list):
        return value
    named = {t.get("name"): t.get("template") for t in value if isinstance(t, dict)}
    if named and "default" not in named:
        raise CheckpointError(f"The checkpoint names chat templates {sorted(map(str, named))} but none is 'default'.")
    return named.get("default")


def _words(err: BaseException) -> str:
    text = (str(err) or type(err).__name__)[:500]
    line = getattr(err, "lineno", None)
    return f"{text} (line {line})" if line else text
