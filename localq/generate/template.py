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

    def __init__(
        self, source: str, special_tokens: Mapping[str, str] | None = None, tool_use: str | None = None
    ) -> None:
        """`tool_use` takes the place of `source` where tools are given. CheckpointError: too long, does not compile."""
        self.source = source
        self._special = dict(special_tokens or {})
        self._env = BoundedEnvironment()
        self._template = self._compiled(source)
        self._tool_use = self._template if tool_use is None else self._compiled(tool_use)

    def _compiled(self, source: str) -> Any:
        if len(source) > MAX_TEMPLATE:
            raise CheckpointError(f"The chat template has {len(source)} characters; localq reads {MAX_TEMPLATE}.")
        try:
            return self._env.from_string(source)
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
            for piece in (self._tool_use if given["tools"] else self._template).generate(given):
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
    tool_use = _tool_use(ckpt)
    for one in (source, tool_use):
        if one is not None and not isinstance(one, str):
            raise CheckpointError(f"The checkpoint's chat template is a {type(one).__name__}; expected text.")
    return ChatTemplate(source, special_tokens, tool_use)


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
        return _text(data, "chat_template.jinja")
    for name in ("chat_template.json", "tokenizer_config.json"):
        found = _default_of(read_json(ckpt.file, name).get("chat_template"))
        if found is not None:
            return found
    return ckpt.metadata.get("tokenizer.chat_template") if ckpt.container == "gguf" else None


def _text(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as err:
        raise CheckpointError(f"{name} is not UTF-8: {err}.") from err


def _tool_use(ckpt: Checkpoint) -> Any:
    """The template named "tool_use", where there are several (transformers takes it whenever tools are given)."""
    if ckpt.file("chat_template.jinja") is not None:
        data = ckpt.file("additional_chat_templates/tool_use.jinja")
        return None if data is None else _text(data, "additional_chat_templates/tool_use.jinja")
    for name in ("chat_template.json", "tokenizer_config.json"):
        value = read_json(ckpt.file, name).get("chat_template")
        if value is not None:
            several = value if isinstance(value, list) else []
            return next(
                (t.get("template") for t in several if isinstance(t, dict) and t.get("name") == "tool_use"), None
            )
    return ckpt.metadata.get("tokenizer.chat_template.tool_use") if ckpt.container == "gguf" else None


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
