"""Asking the hub: huggingface_hub's session, token and headers, with our own patience and our own sentences.

huggingface_hub sleeps as long as a rate limit asks it to, and answers with its own texts; here a wait is bounded and
every failure is an error of `localq.hub.failures`. Settings are read at call time.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import quote, urljoin, urlsplit

from localq.errors import LocalqError, UsageError
from localq.hub import failures
from localq.hub.failures import Subject

LONGEST_WAIT = 60.0  # seconds a rate limit may hold a command
PAUSES = (0.5, 2.0, 4.0)  # seconds before the second, third and fourth try
MAX_JSON = 1 << 26  # bytes of one answer of the API
_AGAIN = (408, 429, 500, 502, 503, 504)


def endpoint() -> str:
    """Where the hub is: HF_ENDPOINT, else huggingface.co.

    Raises:
        UsageError: HF_ENDPOINT is no address.
    """
    address = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")
    if not re.fullmatch(r"https?://([\w.-]+|\[[0-9a-fA-F:.]+\])(:\d+)?(/[\w./~%-]*)?", address):
        raise UsageError(f"HF_ENDPOINT is '{address}', which is no address.", "It looks like https://huggingface.co")
    return address


def is_offline() -> bool:
    """Whether the user has forbidden the network (HF_HUB_OFFLINE, TRANSFORMERS_OFFLINE, as huggingface_hub reads)."""
    said = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return said.upper() in ("1", "ON", "YES", "TRUE")


def file_url(repo: str, commit: str, path: str) -> str:
    """Address of one file of a repository at a commit."""
    return f"{endpoint()}/{repo}/resolve/{quote(commit, safe='')}/{quote(path)}"


def get_json(path: str, params: dict[str, Any] | None, subject: Subject) -> tuple[Any, str]:
    """One answer of the API and the address of its next page ("" at the end).

    Raises:
        LocalqError: every refusal and failure, in its own words.
    """
    import json

    url = urljoin(endpoint() + "/", path.lstrip("/"))
    for pause in (*PAUSES, None):
        try:
            body, following = _body(url, params, subject)
            break
        except broken() as error:
            if pause is None:
                raise failures.unreachable(error, _host(url)) from error
            time.sleep(pause)
    try:
        return json.loads(body), following
    except (ValueError, RecursionError):
        hint = "Check HF_ENDPOINT, and whether a proxy or a login page stands in between."
        raise LocalqError(f"{_host(url)} does not answer like the hub (no JSON).", hint) from None


def _body(url: str, params: dict[str, Any] | None, subject: Subject) -> tuple[bytes, str]:
    """A whole answer, and the address its `Link` header calls the next one."""
    with stream(url, subject, params=params) as response:
        body = bytearray()
        for chunk in response.iter_bytes():
            body += chunk
            if len(body) > MAX_JSON:
                raise LocalqError(f"The hub's answer about '{subject.repo}' is longer than {MAX_JSON} bytes.")
        following = response.links.get("next", {}).get("url", "")
        return bytes(body), urljoin(str(response.request.url), following) if following else ""


def pages(path: str, params: dict[str, Any] | None, subject: Subject) -> Iterator[Any]:
    """All items of a paged listing, following `Link: <...>; rel="next"` as long as it stays on the hub."""
    seen = set()
    url, first = path, params
    while url:
        items, following = get_json(url, first, subject)
        if not isinstance(items, list):
            raise LocalqError(f"The hub's listing of '{subject.repo}' is not a list.", "Check HF_ENDPOINT.")
        yield from items
        if following and (following in seen or _origin(following) != _origin(endpoint())):
            raise LocalqError(f"The hub's listing of '{subject.repo}' leads to {following}.", "Check HF_ENDPOINT.")
        seen.add(following)
        url, first = following, None


@contextmanager
def stream(
    url: str, subject: Subject, *, params: dict[str, Any] | None = None, span: tuple[int, int] | None = None
) -> Iterator[Any]:
    """A response of 200 or 206 whose body is still to be read; `span` asks for bytes `[start, end)`.

    Tries again after a failure that may pass. Failures while the body is read are the caller's (`broken`).
    """
    with ExitStack() as stack:
        yield _answer(stack, url, subject, params, span)


def _answer(
    stack: ExitStack, url: str, subject: Subject, params: dict[str, Any] | None, span: tuple[int, int] | None
) -> Any:
    if is_offline():
        raise failures.offline(f"'{subject.repo}'")
    headers = _headers()
    subject = subject._replace(with_token="authorization" in headers)
    if span is not None:
        headers["Range"] = f"bytes={span[0]}-{span[1] - 1}"
    for pause in (*PAUSES, None):
        try:
            request = _session().stream("GET", url, headers=headers, params=params, timeout=_timeout())
            response = stack.enter_context(request)
        except broken() as error:
            dead = type(error).__name__ == "ConnectError" and pause != PAUSES[0]  # one more try is enough
            if pause is None or dead or failures.is_tls(error):
                raise failures.unreachable(error, _host(url)) from error
            time.sleep(pause)
            continue
        if response.status_code < 300:
            return response
        wait = _patience(response, pause, subject)
        stack.close()
        time.sleep(wait)
    raise AssertionError("the last try has no pause, so it returned or raised")


def _patience(response: Any, pause: float | None, subject: Subject) -> float:
    """Seconds to wait before asking again, or the error that ends it."""
    status = response.status_code
    if status == 416:
        raise RangeError("the server has no such bytes")
    if status not in _AGAIN:
        raise failures.refused(status, response.headers, subject)
    asked = _asked_wait(response.headers)
    if asked is not None and asked > LONGEST_WAIT:
        raise failures.too_long_a_wait(asked)
    if pause is None:
        raise failures.refused(status, response.headers, subject)
    return pause if asked is None else max(asked, 0.0)


def _asked_wait(headers: Any) -> float | None:
    """Seconds that `Retry-After` (a number or a date) or `RateLimit: ...;r=0;t=55` ask for."""
    after = headers.get("retry-after", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", after):
        return float(after)
    if after:
        from email.utils import parsedate_to_datetime

        try:
            return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
        except (ValueError, TypeError):
            return None
    limit = re.search(r"\br\s*=\s*0\s*;\s*t\s*=\s*(\d{1,9})", headers.get("ratelimit", ""))
    return float(limit[1]) if limit else None


class RangeError(ConnectionError):
    """416: the file is shorter than what was asked for."""


def broken() -> tuple[type[Exception], ...]:
    """What the HTTP library raises when a connection fails: to be caught while a body is read."""
    import importlib

    library = importlib.import_module(type(_session()).__module__.partition(".")[0])  # httpx, or its later name
    return (library.RequestError, library.StreamError, library.InvalidURL, ConnectionError, TimeoutError)


def _session() -> Any:
    return _utils().get_session()


def file_lock(path: str, timeout: float | None = None) -> Any:
    """huggingface_hub's lock: its downloads and ours wait for each other. Raises filelock.Timeout."""
    return _utils().WeakFileLock(path, timeout=timeout)


def _utils() -> Any:
    import huggingface_hub.utils

    module: Any = huggingface_hub.utils  # its names are public but not declared to type checkers
    return module


def _headers() -> dict[str, str]:
    from importlib.metadata import version

    headers: dict[str, str] = _utils().build_hf_headers(library_name="localq", library_version=version("localq"))
    return {**headers, "Accept-Encoding": "identity"}  # sizes and ranges must mean the file itself


def _timeout() -> float:
    from huggingface_hub import constants

    return float(constants.HF_HUB_DOWNLOAD_TIMEOUT)


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc
