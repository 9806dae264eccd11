"""`localq doctor`: what is installed and what is wrong, one cause and one command per problem."""

from __future__ import annotations

import argparse
from typing import Any

from localq.cli.checkup import Finding, all_findings
from localq.cli.output import Output, paint, table
from localq.cli.parser import add_json

_SIGNS = {"ok": ("ok", "32"), "note": ("note", "33"), "problem": ("problem", "31")}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernels", action="store_true", help="compare every kernel with float64 arithmetic")
    add_json(parser)


def run(args: argparse.Namespace, out: Output) -> int:
    """Exit code 0 when nothing is wrong, 1 when there is a problem."""
    findings = all_findings()
    kernels = _kernels(out) if args.kernels else None
    bad = [k for k in kernels or () if not k["ok"]]
    if bad:
        names = ", ".join(sorted({k["format"] for k in bad}))
        findings.append(Finding("kernels", "problem", f"wrong results for {names}", "export LOCALQ_KERNELS=reference"))
    healthy = all(f.state != "problem" for f in findings)
    if out.json:
        report: dict[str, Any] = {"healthy": healthy, "findings": [f._asdict() for f in findings]}
        out.object(report if kernels is None else {**report, "kernels": kernels})
    else:
        _show(findings, kernels, out)
    return 0 if healthy else 1


def _kernels(out: Output) -> list[dict[str, Any]]:
    from dataclasses import asdict

    from localq.kernels.checks import check_all

    out.detail("checking every kernel ...")
    return [{**asdict(check), "ok": check.ok} for check in check_all()]


def _show(findings: list[Finding], kernels: list[dict[str, Any]] | None, out: Output) -> None:
    import sys

    for finding in findings:
        word, colour = _SIGNS[finding.state]
        out.data(f"{paint(word.ljust(8), colour, sys.stdout)}{finding.what:<16}{finding.words}")
        if finding.command:
            out.data(f"{'':<24}$ {finding.command}")
    if kernels is not None:
        head = ("format", "operation", "computed by", "device", "error", "limit", "")
        rows = [
            (k["format"], k["op"], k["implementation"], k["device"], f"{k['error']:.1e}", f"{k['limit']:.0e}", _ok(k))
            for k in kernels
        ]
        out.data("\n" + table([head, *rows], right=(4, 5)))


def _ok(check: dict[str, Any]) -> str:
    return "ok" if check["ok"] else "WRONG"
