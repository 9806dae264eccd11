"""Where chat templates run: jinja2's immutable sandbox, which guards attributes, with a budget of time and memory.

The environment is what transformers gives a template: trim_blocks, lstrip_blocks, break and continue, `tojson`
without HTML escapes, `raise_exception`, `strftime_now`, and a `generation` tag that changes nothing.

    bounded      steps (every loop turn, call, filter, attribute, operator) and wall time; every string or list that
                 `~ + * %`, a call or a filter makes, before it is made where its size can be told from the arguments
                 (padding, `replace`, `join`, `indent`, `format` widths); `range` (by jinja2); the rendered text
    not bounded  one single operation on strings under the limit, and jinja2's compiling of a template under
                 `MAX_TEMPLATE`: each ends by itself, within seconds at worst
"""

from __future__ import annotations

import json
import re
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

MAX_TEXT = 1 << 24  # characters of any string, items of any list made while rendering
MAX_STEPS = 1_000_000
MAX_SECONDS = 5.0
_LONG_NUMBER = re.compile(r"\d{7}")  # a width in a format text


class OutOfBounds(SecurityError):
    """A template asked for more than it gets."""


class _Generation(Extension):
    """`{% generation %}` marks the assistant's words for training; the text inside is rendered as it is."""

    tags = {"generation"}

    def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
        """The body, as if the tag were not there."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox with a budget; `start` before each rendering."""

    intercepted_binops = frozenset(["+", "*", "**", "%"])

    def __init__(self) -> None:
        super().__init__(
            trim_blocks=True, lstrip_blocks=True, extensions=[LoopControlExtension, _Generation], cache_size=0
        )
        self.filters["tojson"] = _tojson
        for name, function in self.filters.items():
            self.filters[name] = self._guarded(name, function)
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
            raise OutOfBounds(f"it takes more than {MAX_STEPS} steps or {MAX_SECONDS:.0f} seconds")

    def check_size(self, size: int) -> None:
        """Refuse a text of `size` characters, or a list of as many items, if that is too long."""
        if size > MAX_TEXT:
            raise OutOfBounds(f"it makes a text or list longer than {MAX_TEXT}")

    def each(self, items: Iterable[Any]) -> Iterable[Any]:
        """What a loop runs over, counted."""
        return _Counted(items, self) if isinstance(items, Sequence) else self.counted(items)

    def counted(self, items: Iterable[Any]) -> Iterator[Any]:
        """The items, one step each."""
        for item in items:
            self.tick()
            yield item

    def joined(self, *parts: Any) -> str:
        """Jinja's `~`, measured before it is made."""
        self.tick()
        texts = [str(p) for p in parts]
        self.check_size(sum(map(len, texts)))
        return "".join(texts)

    def call(self, context: Any, obj: Any, *args: Any, **kwargs: Any) -> Any:
        """Every call a template makes."""
        self.tick()
        subject = getattr(obj, "__self__", None)
        if isinstance(subject, (str, bytes, int)):
            self.check_size(_made(str(getattr(obj, "__name__", "")), subject, args, kwargs))
        return self._measured(super().call(context, obj, *args, **kwargs))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """`+ * ** %`, refused before they make something huge."""
        self.tick()
        long = (str, bytes, list, tuple)
        if operator == "*":
            for one, times in ((left, right), (right, left)):
                if isinstance(one, long) and isinstance(times, int):
                    self.check_size(len(one) * times)
        elif operator == "+" and isinstance(left, long) and isinstance(right, long):
            self.check_size(len(left) + len(right))
        elif operator == "%" and isinstance(left, (str, bytes)):
            self.check_size(_made("format", left, (right,), {}))
        if operator in ("*", "**") and isinstance(left, int) and isinstance(right, int):
            bits = left.bit_length() * (right if operator == "**" else 1) + right.bit_length()
            if bits > 1 << 16:
                raise OutOfBounds("it makes a number of more than 65536 bits")
        return super().call_binop(context, operator, left, right)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`obj.attribute`, counted."""
        self.tick()
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """`obj[argument]`, counted."""
        self.tick()
        return super().getitem(obj, argument)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """`str.format`, refused for a text with a huge width in it."""
        wrapped = super().wrap_str_format(value)
        if wrapped is not None:
            self.check_size(_made("format", value.__self__, (), {}))
        return wrapped

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        """The template with every loop and every `~` handed to this environment first."""
        tree = super()._parse(source, name, filename)
        for loop in list(tree.find_all(nodes.For)):
            loop.iter = _asked("each", loop.iter)
        _replace_concats(tree)
        return tree

    def _guarded(self, name: str, function: Any) -> Callable[..., Any]:
        """A filter whose result is measured; jinja's marks on the function are kept."""
        implicit = 1 if hasattr(function, "jinja_pass_arg") else 0  # it gets the context first

        @wraps(function)
        def guarded(*args: Any, **kwargs: Any) -> Any:
            self.tick()
            given = list(args)
            if name == "join" and len(given) > implicit:
                given[implicit] = list(self.counted(given[implicit]))
            if len(given) > implicit:
                self.check_size(_made(name, given[implicit], tuple(given[implicit + 1 :]), kwargs, is_filter=True))
            return self._measured(function(*given, **kwargs))

        return guarded

    def _measured(self, value: Any) -> Any:
        if isinstance(value, (str, bytes, list, tuple)):
            self.check_size(len(value))
        return value


def _made(name: str, subject: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, is_filter: bool = False) -> int:
    """Characters or items a method or filter will make, as far as its arguments tell; 0: no more than it is given."""
    given = [*args, *kwargs.values()]
    numbers = [n for n in given if isinstance(n, int)]
    if name in ("center", "ljust", "rjust", "zfill", "to_bytes", "slice", "batch"):
        return max(numbers, default=0)
    if name in ("indent", "expandtabs", "wordwrap"):
        text = str(subject)
        widths = [*numbers, *(len(g) for g in given if isinstance(g, str))]
        return max(widths, default=0) * (1 + text.count("\n") + text.count("\t"))
    if name == "format":
        text = subject.decode("latin-1") if isinstance(subject, bytes) else str(subject)
        if _LONG_NUMBER.search(text):
            return MAX_TEXT + 1
        numbers += [n for g in given if isinstance(g, tuple) for n in g if isinstance(n, int)]
        return max(numbers, default=0) if "*" in text or "{}" in text[1:-1] else 0
    if name == "replace" and len(given) > 1:
        old, new = (g if isinstance(g, bytes) else str(g) for g in given[:2])
        whole: Any = subject if isinstance(subject, bytes) else str(subject)
        return len(whole) + int(whole.count(old)) * len(new)
    if name == "join" and is_filter:
        separator = given[0] if given else ""
        return sum(len(str(item)) + len(str(separator)) for item in subject)
    if name == "join" and given and isinstance(given[0], (list, tuple)):
        return sum(len(item) + len(subject) for item in given[0] if isinstance(item, (str, bytes)))
    return 0


class _Counted(Sequence[Any]):
    """A list a loop runs over: `loop.length` still works, every turn is a step."""

    def __init__(self, items: Sequence[Any], env: BoundedEnvironment) -> None:
        self._items, self._env = items, env

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        return self._items[index]

    def __iter__(self) -> Iterator[Any]:
        return self._env.counted(self._items)


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
    if isinstance(indent, int) and indent > 64:
        raise OutOfBounds(f"it indents JSON by {indent}")
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise(message: Any) -> None:
    raise TemplateError(str(message))
