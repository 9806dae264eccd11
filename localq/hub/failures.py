"""What went wrong between here and the hub, as one sentence and a hint each.

The hub's words: status code, `X-Error-Code` (RepoNotFound, GatedRepo, RevisionNotFound, EntryNotFound) and
`X-Error-Message`, as `huggingface_hub.utils.hf_raise_for_status` reads them. A repository that does not exist and one
that is private look the same to whoever may not see it, so the sentence says both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from localq.errors import DoesNotFitError, LocalqError, NotFoundError

LOGIN = "log in with 'hf auth login', or set HF_TOKEN."


class UnreachableError(LocalqError):
    """The hub cannot be asked now (offline mode, dead network, TLS, a server in trouble); what is here still works."""


class MissingRepoError(NotFoundError):
    """The hub has no such repository, or does not show it to this token."""


class Subject(NamedTuple):
    """What a request was about, for its sentence."""

    repo: str
    revision: str = ""
    file: str = ""
    with_token: bool = False


def refused(status: int, headers: Mapping[str, str], subject: Subject) -> LocalqError:
    """The sentence for a final answer of 400 or more."""
    code, said = headers.get("x-error-code", ""), headers.get("x-error-message", "")
    repo = subject.repo
    if code == "GatedRepo":
        return _gated(subject)
    if code == "RevisionNotFound":
        wanted = subject.revision or "main"
        return NotFoundError(f"'{repo}' has no revision '{wanted}'.", "Leave --revision out, or name a branch or tag.")
    if code == "EntryNotFound":
        return NotFoundError(f"'{repo}' has no file '{subject.file}'.", f"See its files: localq pull {repo} --dry-run")
    if status == 401 and "credential" in said.lower():
        return LocalqError("The hub does not accept the token in use.", "Renew it: 'hf auth login', or unset HF_TOKEN.")
    if "disabled" in said.lower():
        return LocalqError(f"The hub has disabled '{repo}'.", "Look for another build of this model.")
    if code == "RepoNotFound" or status in (401, 404):
        return _missing(subject)
    if status == 403:
        return LocalqError(f"The token in use may not read '{repo}'.", "Use one with read access: hf auth login")
    if status == 429:
        return LocalqError("The hub says it was asked too often.", "Wait a little; with a token the limit is higher.")
    if status >= 500:
        return UnreachableError(f"The hub is in trouble (it answered {status}).", "Try again later; nothing is lost.")
    return LocalqError(f"The hub answered {status} for '{repo}'{': ' + said if said else ''}.")


def _gated(subject: Subject) -> LocalqError:
    where = f"https://huggingface.co/{subject.repo}"
    if subject.with_token:
        return LocalqError(
            f"'{subject.repo}' is gated, and the account of the token in use has no access.", f"Ask for it at {where}"
        )
    return LocalqError(f"'{subject.repo}' is gated: its licence must be accepted first, at {where}.", f"Then {LOGIN}")


def _missing(subject: Subject) -> MissingRepoError:
    if subject.with_token:
        return MissingRepoError(
            f"The hub has no repository '{subject.repo}' that the token in use may see.", "Check the spelling."
        )
    return MissingRepoError(
        f"The hub has no public repository '{subject.repo}'.", f"Check the spelling; if it is private, {LOGIN}"
    )


def too_long_a_wait(seconds: float) -> LocalqError:
    """A rate limit that asks for more patience than a command line should have."""
    return LocalqError(
        f"The hub says it was asked too often, and to come back in {seconds:.0f} seconds.",
        "Run the same command then: it continues. With a token the limit is higher.",
    )


def offline(what: str) -> UnreachableError:
    """Offline mode is on and the network is needed."""
    return UnreachableError(
        f"Offline mode is on, so {what} cannot be asked for.", "Unset HF_HUB_OFFLINE to use the network."
    )


def unreachable(error: BaseException, host: str) -> UnreachableError:
    """A connection that did not come about or broke for good."""
    if is_tls(error):
        return UnreachableError(
            f"The TLS certificate of {host} was not accepted ({_reason(error)}).",
            "A proxy that opens TLS needs its root certificate in SSL_CERT_FILE; also check the clock.",
        )
    if "proxy" in type(error).__name__.lower():
        return UnreachableError(f"The proxy refused the way to {host} ({_reason(error)}).", "Check HTTPS_PROXY.")
    if "timeout" in type(error).__name__.lower():
        return UnreachableError(f"{host} did not answer in time.", "Run the same command again: it continues.")
    return UnreachableError(
        f"{host} cannot be reached ({_reason(error)}).", "Check the network; run the same command again to continue."
    )


def is_tls(error: BaseException | None) -> bool:
    """Whether a failed connection failed over TLS, which trying again does not mend."""
    for _ in range(8):
        if error is None:
            break
        if "ssl" in type(error).__name__.lower() or re.search(r"\[SSL|certificate", str(error), re.I):
            return True
        error = error.__cause__ or error.__context__
    return False


def _reason(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text[:120] or type(error).__name__


def disk_full(where: str, needed: int, free: int) -> DoesNotFitError:
    """Too little room, found before anything is fetched."""
    return DoesNotFitError(
        f"{_size(needed)} are to be fetched, and the disk of {where} has {_size(free)} free.",
        "Make room (localq list, localq rm MODEL), pick a smaller build, or move the cache with HF_HOME.",
    )


def disk_filled(where: str) -> DoesNotFitError:
    """The disk became full while fetching."""
    return DoesNotFitError(
        f"The disk of {where} is full.", "What was fetched is kept: make room and run the same command again."
    )


def _size(count: float) -> str:
    for unit in ("B", "KB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.2f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"
