"""`localq pull MODEL`: fetch exactly the files a model needs, continued where it stopped and checked by hash."""

from __future__ import annotations

import argparse

from localq.cli.output import Output, printable, size, table
from localq.cli.parser import add_json, positive
from localq.errors import LocalqError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from localq.fit.report import Fit
    from localq.hub.failures import MissingRepoError
    from localq.hub.pull import Plan
    from localq.hub.refs import HubRef


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "model", metavar="MODEL", help="org/name, org/name:Q4_K_M, a hub address, or a name to search for"
    )
    parser.add_argument("--revision", metavar="REV", help="branch, tag or commit (default: main)")
    parser.add_argument("--include", metavar="GLOB", action="append", default=[], help="fetch these files instead")
    parser.add_argument("--exclude", metavar="GLOB", action="append", default=[], help="leave these files out")
    parser.add_argument("--mmproj", action="store_true", help="with a GGUF: also the file for images")
    parser.add_argument("--local-dir", metavar="DIR", help="put the files there instead of the Hugging Face cache")
    parser.add_argument("--max-workers", type=positive, default=8, metavar="N", help="files at once (default: 8)")
    parser.add_argument("--dry-run", action="store_true", help="show files and sizes, fetch nothing")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Print the path of what can be opened now."""
    from localq.hub.failures import UnreachableError
    from localq.hub.resolve import find

    local = _already_local(args.model)
    if local:
        out.say(f"localq: '{args.model}' is on this machine already.")
        out.object({"path": local}) if out.json else out.data(local)
        return 0
    try:
        ref = find(args.model, args.revision, out.say)
        return _pull(ref, args, out)
    except UnreachableError as error:
        local = _cached(args)
        if not local:
            raise
        out.say(f"localq: {error.message} What is in the cache is not compared with the hub.")
        out.object({"path": local}) if out.json else out.data(local)
        return 0


def _cached(args: argparse.Namespace) -> str:
    """The cached model of this reference, "" if it is not here (or certain files or another folder were asked for)."""
    from localq.hub.refs import resolve

    if args.local_dir or args.include or args.exclude or args.mmproj or args.dry_run:
        return ""
    try:
        return resolve(args.model, args.revision)
    except LocalqError:
        return ""


def _pull(ref: HubRef, args: argparse.Namespace, out: Output) -> int:
    from localq.hub.failures import MissingRepoError
    from localq.hub.pull import plan_pull
    from localq.hub.selection import Wish

    wish = Wish(include=tuple(args.include), exclude=tuple(args.exclude), mmproj=args.mmproj)
    try:
        plan = plan_pull(ref, wish, args.local_dir or "")
    except MissingRepoError as error:
        raise _with_near(args.model, ref, error) from error
    if plan.listing.moved:
        out.say(f"localq: '{printable(plan.listing.asked)}' is now called '{plan.listing.repo}'.")
    if args.dry_run:
        return _show(plan, out)
    where = _fetch(plan, args.max_workers, out)
    out.object({**_facts(plan), "path": where}) if out.json else out.data(where)
    return 0


def _with_near(model: str, ref: HubRef, error: MissingRepoError) -> LocalqError:
    """A missing repository, with the nearest real ones if the search finds any."""
    from localq.hub.resolve import nearest

    try:
        near = nearest(model, ref)
    except LocalqError:
        return error
    return type(error)(error.message, f"{error.hint} {near.hint}") if near.candidates else error


def _already_local(model: str) -> str:
    """A path or `demo` needs no hub; a missing path is said to be missing."""
    from localq.hub.refs import is_local, resolve

    return resolve(model) if is_local(model) else ""


def _fetch(plan: Plan, workers: int, out: Output) -> str:
    from localq.cli.progress import Progress
    from localq.hub.pull import Events, pull

    count = f"{len(plan.files)} file{'s' if len(plan.files) > 1 else ''}"
    out.say(f"localq: {plan.listing.repo} at {plan.listing.commit[:12]}: {count}, {size(plan.size)}")
    progress = Progress(plan.size, out)
    try:
        return pull(plan, workers=workers, events=Events(progress.moved, progress.said))
    finally:
        progress.close()


def _facts(plan: Plan) -> dict[str, object]:
    files = [
        {"path": f.path, "size": f.size, "sha256": f.sha256 or None, "git_sha1": f.sha1, "here": plan.is_here(f)}
        for f in plan.files
    ]
    listing = plan.listing
    return {
        "repo": listing.repo, "revision": listing.revision, "commit": listing.commit, "files": files,
        "size": plan.size, "to_fetch": plan.missing, "target": plan.target,
    }  # fmt: skip


def _fit(plan: Plan) -> Fit | None:
    """Whether this machine could run it, from headers alone; None where that cannot be said."""
    from localq.fit.machines import this_machine
    from localq.fit.report import fit
    from localq.inspect.remote import open_remote

    try:
        with open_remote(plan) as checkpoint:
            return fit(checkpoint, this_machine())
    except LocalqError:
        return None  # a choice of files that is no model, or one whose needs are not known: fetching is still fine


def _show(plan: Plan, out: Output) -> int:
    """Files and sizes; data on stdout, what it means on stderr."""
    from localq.hub.pull import check_disk

    fit = _fit(plan)
    if out.json:
        out.object({**_facts(plan), "fit": fit and fit.to_dict()})
        return 0
    rows = [("file", "size", "here")]
    rows += [(printable(f.path), size(f.size), "yes" if plan.is_here(f) else "no") for f in plan.files]
    out.data(table(rows, right=(1,)))
    out.say(f"localq: {size(plan.size)} in all, {size(plan.missing)} to fetch, into {plan.store.root}")
    if fit is not None:
        verdict = "fits" if fit.fits else "does not fit"
        needs = f"{size(fit.need.total)} at {fit.need.context} tokens of context, {size(fit.target.limit)} there"
        out.say(f"localq: it {verdict} on {printable(fit.target.name)} ({needs})")
    check_disk(plan)
    return 0
