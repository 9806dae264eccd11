"""localq for Python: open a checkpoint, load it as a model, talk to it.

    model = localq.load("demo")
    for piece in model.stream("Why is the sky blue?", max_tokens=64): ...
    text = model.generate([{"role": "user", "content": "Hello"}], temperature=0.0)

Load and use a model on one thread: MLX's streams are thread-local.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from localq.checkpoints import open_checkpoint
from localq.errors import DoesNotFitError, UnsupportedError, UsageError
from localq.generate.reasoning import reasoning_style
from localq.generate.recommended import recommended
from localq.generate.reply import Prompt, Reply
from localq.generate.samplers import Sampling
from localq.generate.template import ChatTemplate, Message, check_messages, open_template
from localq.generate.tokenizer import Tokenizer, open_tokenizer

if TYPE_CHECKING:
    from localq.engines.base import Engine

__all__ = ["Model", "load", "open_checkpoint"]


class Model:
    """A loaded model; made by `load`."""

    def __init__(
        self,
        engine: Engine,
        tokenizer: Tokenizer,
        template: ChatTemplate | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
    ) -> None:
        """`defaults` are the sampling options the checkpoint itself recommends."""
        self.engine = engine
        self.tokenizer = tokenizer
        self.template = template
        self.defaults = dict(defaults or {})
        self.style = reasoning_style(tokenizer.ids, template.source if template else "")

    @property
    def context(self) -> int:
        """Tokens that prompt and answer may have together."""
        return self.engine.context

    def close(self) -> None:
        """Free the weights; the model is of no use afterwards."""
        self.engine.close()

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def stream(
        self, prompt: str | Sequence[Message], *, raw: bool = False, system: str | None = None, **options: Any
    ) -> Iterator[str]:
        """The answer's text as it grows (reasoning left out); arguments and errors as in `chat_pieces`."""
        reply = self.chat_pieces(prompt, raw=raw, system=system, **options)
        try:
            for piece in reply:
                if piece.kind == "text":
                    yield piece.text
        finally:
            reply.close()

    def generate(
        self, prompt: str | Sequence[Message], *, raw: bool = False, system: str | None = None, **options: Any
    ) -> str:
        """The whole answer's text (reasoning left out); arguments and errors as in `chat_pieces`."""
        return "".join(self.stream(prompt, raw=raw, system=system, **options))

    def chat_pieces(
        self, prompt: str | Sequence[Message], *, raw: bool = False, system: str | None = None, **options: Any
    ) -> Reply:
        """Start an answer: iterate for `Piece(kind, text)`, kind "text" or "reasoning"; `.stats`, `.close()`.

        Args:
            prompt: a text, which becomes one user message where the model has a chat template and is continued as it
                stands where it has none or `raw` is set; or a list of messages with "role" and "content".
            system: a system message put first.
            options: fields of `Sampling` (temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty,
                seed, max_tokens, stop); `template_variables`, a mapping handed to the chat template.

        Raises:
            UsageError: a wrong option, an empty prompt, messages for a model without a chat template.
            DoesNotFitError: a prompt that fills the context.
            CheckpointError: the chat template refuses the messages.
        """
        variables = options.pop("template_variables", None)
        sampling = Sampling.of(options, self.defaults)
        ready = self.prepare(prompt, raw=raw, system=system, variables=variables)
        if len(ready.ids) >= self.context:
            raise DoesNotFitError(
                f"The prompt has {len(ready.ids)} tokens; the context holds {self.context}, the answer included.",
                "Shorten the prompt, or load the model with a larger context if it has one.",
            )
        ids = self.engine.generate(ready.ids, sampling)
        return Reply(self.tokenizer, ready, ids, stop=sampling.stop, style=self.style)

    def prepare(
        self,
        prompt: str | Sequence[Message],
        *,
        raw: bool = False,
        system: str | None = None,
        variables: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """The ids (and text) the model gets for `prompt`; errors as in `chat_pieces`."""
        if isinstance(prompt, str) and (raw or self.template is None):
            if system is not None:
                raise UsageError("A raw prompt has no place for a system message; write it into the prompt.")
            ready = Prompt(self.tokenizer.encode(prompt), prompt, continues=bool(prompt))
        else:
            ready = self._conversation(prompt, raw, system, variables)
        if not ready.ids:
            raise UsageError("The prompt is empty.", "Give the model some text to continue.")
        return ready

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits after each of `ids`: float32 `[tokens, vocab]`.

        Raises:
            UsageError: no ids, or one outside the vocabulary.
            DoesNotFitError: more ids than the context holds.
        """
        return self.engine.logits(ids)

    def _conversation(
        self, prompt: str | Sequence[Message], raw: bool, system: str | None, variables: Mapping[str, Any] | None
    ) -> Prompt:
        if self.template is None:
            raise UsageError(
                "This model has no chat template, so localq does not know how it wants a conversation written.",
                "Give it plain text to continue (--raw, or a str as prompt).",
            )
        if raw:
            raise UsageError("raw goes with a text; messages are written by the chat template.")
        messages: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        if system is not None:
            messages.insert(0, {"role": "system", "content": system})
        check_messages(messages)
        text = self.template.render(messages, **dict(variables or {}))
        return Prompt(self.tokenizer.encode(text, add_special=False), text)


def load(ref: str, engine: str = "auto", kv_cache_dtype: str | None = None, context: int | None = None) -> Model:
    """Load a model by reference: a folder, a `.gguf`, `org/name`, "demo".

    Args:
        engine: "auto", "mlx" or "llama".
        kv_cache_dtype: None; other types come later.
        context: most tokens of prompt and answer together; default: what the model was made for.

    Raises:
        NotFoundError: nothing answers to the reference.
        UnsupportedError: an architecture, format or tokenizer localq cannot run.
        CheckpointError: damaged files.
        UsageError: a wrong argument.
    """
    from localq.engines.pick import open_engine
    from localq.hub.refs import resolve

    if kv_cache_dtype is not None:
        raise UsageError(
            f"kv_cache_dtype is {kv_cache_dtype!r}; localq {_version()} keeps the cache unquantised.", "Leave it out."
        )
    with open_checkpoint(resolve(ref)) as ckpt:
        if not len(ckpt):
            raise UnsupportedError(f"{ckpt.path} holds no weights, only what surrounds them.", "Name a whole model.")
        tokenizer = open_tokenizer(ckpt)
        template = open_template(ckpt, tokenizer.special_tokens)
        defaults = recommended(ckpt)
        return Model(open_engine(ckpt, engine, context), tokenizer, template, defaults=defaults)


def _version() -> str:
    from importlib.metadata import version

    return version("localq")
