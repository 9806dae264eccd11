"""Chat templates: the same text as transformers gives, and hostile ones refused in bounded time and memory."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from localq.checkpoints.base import Checkpoint
from localq.checkpoints.detect import open_checkpoint
from localq.errors import CheckpointError, UsageError
from localq.generate.template import MAX_TEMPLATE, ChatTemplate, check_messages, open_template
from tests.factories import build, write_hf

LLAMA3 = """{{- bos_token }}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\nToday Date: " + date_string + "\\n\\n" }}
{{- system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'ipython' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- '{"name": "' ~ message.tool_calls[0].function.name ~ '", "parameters": ' }}
        {{- message.tool_calls[0].function.arguments | tojson }}{{- "}<|eot_id|>" }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
QWEN3 = """{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}
{%- for message in messages[::-1] %}
    {%- set index = (messages|length - 1) - loop.index0 %}
    {%- if ns.multi_step_tool and message.role == "user" and message.content is string %}
        {%- set ns.multi_step_tool = false %}
        {%- set ns.last_query_index = index %}
    {%- endif %}
{%- endfor %}
{%- for message in messages %}
    {%- set content = message.content if message.content is string else '' %}
    {%- if message.role == "user" or (message.role == "system" and not loop.first) %}
        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "assistant" %}
        {%- set reasoning_content = '' %}
        {%- if '</think>' in content %}
            {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}
            {%- set content = content.split('</think>')[-1].lstrip('\\n') %}
        {%- endif %}
        {%- if loop.index0 > ns.last_query_index and (loop.last or reasoning_content) %}
            {{- '<|im_start|>assistant\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content }}
        {%- else %}
            {{- '<|im_start|>assistant\\n' + content }}
        {%- endif %}
        {{- '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' ~ content ~ '<|im_end|>\\n' }}
    {%- endif %}
{%- endfor %}
{%- if tools %}{% for tool in tools %}{{ tool | tojson(indent=2) }}{% endfor %}{% endif %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}
{%- endif %}"""
GEMMA = """{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}{%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}{%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}{%- set role = "model" -%}{%- else -%}
    {%- set role = message['role'] -%}{%- endif -%}
    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else "") }}
    {{ message['content'] | trim }}{{ '<end_of_turn>\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{'<start_of_turn>model\n'}}{%- endif -%}
"""
MISTRAL = """{{ bos_token }}{% for message in messages if message.role != 'system' %}{% if message['role'] == 'user' %}
{%- if loop.last and messages[0].role == 'system' %}{{ '[INST] ' + messages[0].content + '\n\n' }}
{{- message.content + '[/INST]' }}
{%- else %}{{ '[INST] ' + message['content'] + '[/INST]' }}{% endif %}
{%- elif message['role'] == 'assistant' %}{% generation %}{{ ' ' + message['content'] + eos_token }}{% endgeneration %}
{% else %}{% break %}{% endif %}{% endfor %}"""
TEMPLATES = {"llama3": LLAMA3, "qwen3": QWEN3, "gemma": GEMMA, "mistral": MISTRAL}

CHAT = [
    {"role": "user", "content": 'Hello <b>&"you"</b> 🚀'},
    {"role": "assistant", "content": "<think>\nhm\n</think>\n\nHi!"},
    {"role": "user", "content": "  Why is the sky blue?\n"},
]
CONVERSATIONS = [
    CHAT[:1],
    CHAT,
    [{"role": "system", "content": "Be brief."}, *CHAT],
    [*CHAT, {"role": "assistant", "content": "Rayleigh"}],
]
VARIABLES = {"bos_token": "<s>", "eos_token": "</s>", "date_string": "26 Jul 2024"}


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("prompted", [True, False])
def test_as_transformers(name: str, prompted: bool) -> None:
    utils = pytest.importorskip("transformers.utils.chat_template_utils")
    tools = [{"type": "function", "function": {"name": "f", "description": "é <x>"}}] if name == "qwen3" else None
    ours = ChatTemplate(TEMPLATES[name], VARIABLES)
    for chat in CONVERSATIONS:
        extra = {"enable_thinking": False, "tools": tools}
        theirs, _ = utils.render_jinja_template(
            [chat], chat_template=TEMPLATES[name], add_generation_prompt=prompted, tools=tools, enable_thinking=False,
            **VARIABLES,
        )  # fmt: skip
        assert ours.render(chat, add_generation_prompt=prompted, **extra) == theirs[0]
        assert theirs[0]


def test_the_template_speaks() -> None:
    with pytest.raises(CheckpointError, match="roles must alternate"):
        ChatTemplate(GEMMA, VARIABLES).render([CHAT[0], CHAT[0]])


def test_large_numbers_are_no_attack() -> None:
    """Numbers in data (a tool's schema, a time) may be as large as they like."""
    text = "{{ messages[0].content | tojson }} {{ n ~ '' }} {{ n | string }} {{ '{}'.format(n) }} {{ n + 1 }}"
    chat = [{"role": "user", "content": {"maximum": 2**53}}]
    assert (
        ChatTemplate(text).render(chat, n=10**12)
        == f'{{"maximum": {2**53}}} 1{"0" * 12} 1{"0" * 12} 1{"0" * 12} 1{"0" * 11}1'
    )


def test_messages_are_not_changed() -> None:
    messages = [{"role": "user", "content": "x"}]
    template = ChatTemplate("{% for m in messages %}{{ m.update({'content': 'y'}) }}{% endfor %}")
    with pytest.raises(CheckpointError):
        template.render(messages)
    assert messages == [{"role": "user", "content": "x"}]


HOSTILE = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "globals": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "cycler": "{{ cycler('a')['__init__'] | attr('__globals__') }}{{ (cycler('a') | attr('__init__')).x }}",
    "self": "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.environment.x }}",
    "attr": "{{ (messages | attr('__class__')) ~ (messages | map(attribute='__class__') | list)[0].x }}",
    "format": "{{ '{0.__class__.__mro__}'.format(1).x.y }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "append": "{{ messages.append(1) }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "strings": "{% set s = 'abcdefghij' %}" + "{% for x in s %}" * 12 + "{% endfor %}" * 12,
    "range": "{% for a in range(10**9) %}{% endfor %}",
    "recursion": "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "recursive loop": "{% for a in [1] recursive %}{{ loop([1]) }}{% endfor %}",
    "doubling": "{% set n = namespace(s='x') %}{% for i in range(64) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "adding": "{% set n = namespace(s='x') %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "lists": "{% set n = namespace(s=[1]) %}{% for i in range(64) %}{% set n.s = n.s + n.s %}{% endfor %}",
    "times": "{{ 'x' * 10**12 }}",
    "times list": "{{ [0] * 10**12 }}",
    "percent": "{{ '%999999999999d' % 1 }}",
    "power": "{{ 9 ** (9 ** 9) }}{{ x }}",
    "center filter": "{{ 'x' | center(10**12) }}",
    "center method": "{{ 'x'.center(10**12) }}",
    "ljust": "{{ 'x'.ljust(width=999999999999) }}",
    "indent": "{{ ('x\\n' * 100) | indent(10**9) }}",
    "format width": "{{ '{:>999999999999}'.format(1) }}",
    "format filter": "{{ '%999999999999d' | format(1) }}",
    "replace": "{% set s = 'x' * 10000 %}{{ s.replace('x', s) | length }}{{ s.replace('x', s).replace('x', s) }}",
    "join": "{% set s = 'x' * 10000 %}{{ (s | list) | join(s * 100) }}",
    "join method": "{% set s = 'x' * 10000 %}{{ (s * 100).join(s | list) }}",
    "indent lines": "{{ ('x\\n' * 1000) | indent(10000000) }}",
    "tabs": "{{ ('\\t' * 1000).expandtabs(10000000) }}",
    "slices": "{{ [1] | slice(100000000) | list }}",
    "bytes": "{{ (1).to_bytes(100000000000) }}",
    "star width": "{{ '%*d' % (100000000, 1) }}",
    "nested width": "{{ '{:>{}}'.format(1, 100000000000) }}",
    "json indent": "{{ messages | tojson(indent=1000000000) }}",
    "output": "{% set s = 'x' * 1000000 %}{% for i in range(1000) %}{{ s }}{% endfor %}",
    "lipsum": "{{ lipsum(n=10000) }}",
    "pprint": "{{ messages | pprint(true) }}{{ undefined_thing.x }}",
    "divide": "{{ 1 // 0 }}",
    "nonsense": "{% for %}",
    "unclosed": "{% if true %}",
    "deep": "(" * 5000,
    "deep expression": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "long": " " * (MAX_TEMPLATE + 1),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name: str) -> None:
    if name == "deep":
        assert ChatTemplate(HOSTILE[name]).render(CHAT) == HOSTILE[name]
        return
    start = time.perf_counter()
    tracemalloc.start()
    try:
        with pytest.raises(CheckpointError) as caught:
            ChatTemplate(HOSTILE[name], VARIABLES).render(CHAT)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert time.perf_counter() - start < 12  # 5 s by its own clock, twice that under tracemalloc on a busy machine
    assert peak < 400e6
    assert len(caught.value.message) < 1000


class FakeCheckpoint(Checkpoint):
    def __init__(self, files: dict[str, Any], metadata: dict[str, Any] | None = None, container: str = "safetensors"):
        self.container, self.path = container, "fake"
        self.metadata = metadata or {}
        self._files = {n: v if isinstance(v, bytes) else json.dumps(v).encode() for n, v in files.items()}

    def file(self, name: str) -> bytes | None:
        return self._files.get(name)


def test_where_templates_lie() -> None:
    config = {"tokenizer_config.json": {"chat_template": "config"}}

    def text(ckpt: Checkpoint) -> str | None:
        found = open_template(ckpt, {})
        return None if found is None else found.render(CHAT)

    assert text(FakeCheckpoint(config)) == "config"
    assert text(FakeCheckpoint({**config, "chat_template.jinja": b"file"})) == "file"
    named = [{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]
    assert text(FakeCheckpoint({"tokenizer_config.json": {"chat_template": named}})) == "d"
    assert text(FakeCheckpoint({}, {"tokenizer.chat_template": "gguf"}, "gguf")) == "gguf"
    assert text(FakeCheckpoint({})) is None
    with pytest.raises(CheckpointError, match="tool_use"):
        text(FakeCheckpoint({"tokenizer_config.json": {"chat_template": named[:1]}}))
    with pytest.raises(CheckpointError, match="int"):
        text(FakeCheckpoint({}, {"tokenizer.chat_template": 5}, "gguf"))
    with pytest.raises(CheckpointError, match="UTF-8"):
        text(FakeCheckpoint({"chat_template.jinja": b"\xff"}))


def test_tools_have_a_template_of_their_own() -> None:
    """As transformers' `get_chat_template`: "tool_use" where tools are given, else "default"."""
    tools = [{"type": "function", "function": {"name": "f"}}]
    named = [{"name": "tool_use", "template": "{{ tools[0].function.name }}"}, {"name": "default", "template": "d"}]
    keys = {"tokenizer.chat_template": "d", "tokenizer.chat_template.tool_use": "{{ tools[0].function.name }}"}
    files = {
        "chat_template.jinja": b"d",
        "additional_chat_templates/tool_use.jinja": b"{{ tools[0].function.name }}",
    }
    for ckpt in (
        FakeCheckpoint({"tokenizer_config.json": {"chat_template": named}}),
        FakeCheckpoint(files),
        FakeCheckpoint({}, keys, "gguf"),
    ):
        found = open_template(ckpt, {})
        assert found is not None
        assert found.render(CHAT) == "d"
        assert found.render(CHAT, tools=None) == "d"
        assert found.render(CHAT, tools=tools) == "f"
    with pytest.raises(CheckpointError, match="int"):
        open_template(FakeCheckpoint({}, {**keys, "tokenizer.chat_template.tool_use": 3}, "gguf"), {})


def test_the_file_for_tools(tmp_path: Path) -> None:
    """In a folder as transformers' `save_pretrained` writes it."""
    folder = write_hf(build("llama"), tmp_path / "hf")
    (folder / "additional_chat_templates").mkdir()
    (folder / "chat_template.jinja").write_text("d")
    (folder / "additional_chat_templates" / "tool_use.jinja").write_text("with tools")
    with open_checkpoint(str(folder)) as ckpt:
        found = open_template(ckpt, {})
    assert found is not None and found.render(CHAT, tools=[{}]) == "with tools" and found.render(CHAT) == "d"


@pytest.mark.parametrize("messages", [[], [{}], [{"role": 1, "content": ""}], ["hello"], [{"role": "user"}]])
def test_wrong_messages(messages: list[Any]) -> None:
    with pytest.raises(UsageError):
        check_messages(messages)
