"""Chat templates: Jinja that came with the weights, so hostile until shown otherwise.

Rendered in jinja2's immutable sandbox with what transformers gives a template (trim_blocks, lstrip_blocks,
break/continue, `tojson` without HTML escapes, `raise_exception`, `strftime_now`, a `generation` tag that only marks
text). On top of the sandbox, which guards attributes but not time and memory, `_Bounded` counts:

    bounded      steps (every loop turn, call, attribute) and wall time; every string a call, filter, `~`, `+`, `*`
                 or `%` makes; `range`; numbers handed to calls (`'x'.center(10**12)`); the rendered text
    not bounded  one single operation on strings under the limit (a `replace` of a 4 MB text), and Jinja's own
                 compiling of a template under the size limit: both end, in seconds at worst

The template is the only authority on special tokens of a chat: no BOS is put before what it renders, as in
transformers' `apply_chat_template` (llama.cpp puts one where the template wrote none).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import wraps
from typing import Any

from jinja2 import TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, LoopControlExtension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from localq.checkpoints.base import Checkpoint
from localq.errors import CheckpointError, UsageError
from localq.generate.tokenizer_files import read_json

Message = Mapping[str, Any]

MAX_TEMPLATE = 1 << 20  # characters of the template; real ones have at most some 20,000
MAX_TEXT = 1 << 24  # characters of any string made while rendering
MAX_STEPS = 2_000_000
MAX_SECONDS = 10.0


class ChatTemplate:
    """A compiled template; `render` turns messages into the text the model was trained on."""

    def __init__(self, source: str, special_tokens: Mapping[str, str] | None = None) -> None:
        """Raises CheckpointError for a template that is too long or does not compile."""
        if len(source) > MAX_TEMPLATE:
            raise CheckpointError(f"The chat template has {len(source)} characters; localq reads {MAX_TEMPLATE}.")
        self.source = source
        self._special = dict(special_tokens or {})
        self._env = _Bounded()
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


class _Bounds(SecurityError):
    """A template asked for more than it gets."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; the text inside is rendered as it is."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The body, as if the tag were not there."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class _Bounded(ImmutableSandboxedEnvironment):
    """The sandbox with a budget of steps, seconds and string length."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation], cache_size=0
        )
        self.filters["tojson"] = _tojson
        for table in (self.filters, self.tests):
            for name, function in table.items():
                table[name] = self._guarded(function)
        self.globals |= {"raise_exception": _raise, "strftime_now": lambda form: datetime.now().strftime(form)}
        del self.globals["lipsum"]  # makes text of any length
        self.start()

    def start(self) -> None:
        """A fresh budget."""
        self._steps = 0
        self._deadline = time.monotonic() + MAX_SECONDS

    def tick(self) -> None:
        """One step of the template."""
        self._steps += 1
        if self._steps > MAX_STEPS or (self._steps % 64 == 0 and time.monotonic() > self._deadline):
            raise _Bounds(f"it takes more than {MAX_STEPS} steps or {MAX_SECONDS:.0f} seconds")

    def check_size(self, size: int) -> None:
        """Refuse a text of `size` characters if that is too long."""
        if size > MAX_TEXT:
            raise _Bounds(f"it makes a text of more than {MAX_TEXT} characters")

    def each(self, items: Iterable[Any]) -> Iterable[Any]:
        """What a loop runs over, counted."""
        return _Counted(items, self) if isinstance(items, Sequence) else self._counted(items)

    def joined(self, *parts: Any) -> str:
        """Jinja's `~`, measured before it is made."""
        self.tick()
        texts = [str(p) for p in parts]
        self.check_size(sum(map(len, texts)))
        return "".join(texts)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call a template makes."""
        return self._measured(super().call(context, obj, *self._small(args), **dict(self._small(kwargs.items()))))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`+ * ** %`, refused before they make something huge."""
        self.tick()
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, (str, list, tuple)) and isinstance(other, int):
                    self.check_size(len(one) * other)
        if operator == "%" and isinstance(left, str):
            raise _Bounds("it formats text with %, which localq's sandbox does not allow")
        if operator == "**" or (isinstance(left, int) and isinstance(right, int)):
            self._small((left, right))
            if operator == "**" and abs(right) > 64:
                raise _Bounds("it raises a number to a power above 64")
        if isinstance(left, (str, list, tuple)) and isinstance(right, (str, list, tuple)):
            self.check_size(len(left) + len(right))
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`, counted."""
        self.tick()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`, counted."""
        self.tick()
        return super().getitem(obj, argument)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template with every loop and every `~` handed to this environment first."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = _asked("each", loop.iter)
        _replace_concats(tree)
        return tree

    def _counted(self, items: Iterable[Any]) -> Iterator[Any]:
        for item in items:
            self.tick()
            yield item

    def _guarded(self, function: Any) -> Callable[..., Any]:
        """A filter or test whose numbers and result are measured; jinja's marks on it are kept."""

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            return self._measured(function(*self._small(args), **dict(self._small(kwargs.items()))))

        return guarded

    def _small(self, values: Iterable[Any]) -> list[Any]:
        """The values, none of them (or of pairs in them) a number that asks for gigabytes."""
        self.tick()
        kept = list(values)
        for value in kept:
            number = value[1] if isinstance(value, tuple) and len(value) == 2 else value
            if isinstance(number, int) and abs(number) > MAX_TEXT:
                raise _Bounds(
                    f"it hands the number {number if abs(number) < 1 << 64 else 'too long to show'} to a call"
                )
        return kept

    def _measured(self, value: Any) -> Any:
        if isinstance(value, (str, list, tuple)):
            self.check_size(len(value))
        return value


class _Counted(Sequence[Any]):
    """A list a loop runs over: `loop.length` still works, every turn is a step."""

    def __init__(self, items: Sequence[Any], env: _Bounded) -> None:
        self._items, self._env = items, env

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self._env._counted(self._items))


def _asked(method: str, *arguments: nodes.Node) -> nodes.Expr:
    return nodes.Call(nodes.EnvironmentAttribute(method), list(arguments), [], None, None)


def _replace_concats(node: nodes.Node) -> None:
    """Turn every `a ~ b` below `node` into a call of `joined`."""
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            _replace_concats(value)
            if isinstance(value, nodes.Concat):
                setattr(node, name, _asked("joined", *value.nodes))
        elif isinstance(value, list):
            for i, child in enumerate(value):
                if isinstance(child, nodes.Node):
                    _replace_concats(child)
                    if isinstance(child, nodes.Concat):
                        value[i] = _asked("joined", *child.nodes)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: Any = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: Any) -> None:
    raise TemplateError(str(message))
