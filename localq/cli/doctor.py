"""`localq doctor`: what is installed and what is wrong, one cause and one command per problem."""

from __future__ import annotations

import argparse
from typing import Any

from localq.cli.checkup import Finding, all_findings
from localq.cli.output import Output, paint, table
from localq.cli.parser import add_json

_SIGNS = {"ok": ("ok", "32"), "note": ("note", "33"), "problem": ("problem", "31")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kernels", action="store_true", help="run every kernel, compare it with float64 arithmetic and stored cases"
    )
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Exit code 0 when nothing is wrong, 1 when there is a problem."""
    findings = all_findings()
    kernels = _kernels(out) if args.kernels else None
    if kernels is not None:
        findings += _verdicts(kernels)
    healthy = all(f.state != "problem" for f in findings)
    if out.json:
        report: dict[str, Any] = {"healthy": healthy, "findings": [f._asdict() for f in findings]}
        out.object(report if kernels is None else {**report, "kernels": kernels})
    else:
        _show(findings, kernels, out)
    return 0 if healthy else 1


def _kernels(out: Output) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from localq.kernels.checks import check_all, check_stored

    out.detail("checking every kernel ...")
    return [{**asdict(check), "ok": check.ok} for checks in (check_stored(), check_all()) for check in checks]


def _verdicts(kernels: list[dict[str, Any]]) -> list[Finding]:
    """What the table comes to: where things ran, what gives wrong results, which kernels a slower one stands in for."""
    from localq.kernels.registry import device

    if device() == "cpu":
        words = "no GPU here: localq's own kernels did not run, MLX's and the reference did"
    else:
        own = len({k["format"] for k in kernels if k["implementation"] == "own"})
        words = f"own kernels of {own} formats ran on {device()}"
    found = [Finding("kernels", "note" if device() == "cpu" else "ok", words, "")]
    wrong = sorted({k["format"] for k in kernels if k["error"] > k["limit"]})
    if wrong:
        words = f"wrong results for {', '.join(wrong)}"
        found.append(Finding("kernels", "problem", words, "export LOCALQ_KERNELS=reference"))
    for note in sorted({k["note"] for k in kernels if k["note"]}):
        found.append(Finding("kernels", "problem", note, ""))
    return found


def _show(findings: list[Finding], kernels: list[dict[str, Any]] | None, out: Output) -> None:
    import sys

    for finding in findings:
        word, colour = _SIGNS[finding.state]
        out.data(f"{paint(word.ljust(8), colour, sys.stdout)}{finding.what:<16}{finding.words}")
        if finding.command:
            out.data(f"{'':<24}$ {finding.command}")
    if kernels is not None:
        head = ("format", "operation", "dtype", "computed by", "on", "error", "largest", "limit", "")
        rows = [
            (k["format"], k["op"], k["dtype"], k["implementation"], k["device"])
            + (f"{k['error']:.1e}", f"{k['worst']:.1e}", f"{k['limit']:.0e}", _ok(k))
            for k in kernels
        ]
        out.data("\n" + table([head, *rows], right=(5, 6, 7)))


def _ok(check: dict[str, Any]) -> str:
    if check["ok"]:
        return "ok"
    return "WRONG" if check["error"] > check["limit"] else "SLOWER"
