"""`errander fsck`: whether what is stored obeys its own rules, as the API sees it.

With `--full` and `--repair` the server's distribution looks at the database itself, and shows what it finds in the same
way.
"""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from .._sync import Client
from ._output import Record, mode, print_list, print_one, print_text
from ._session import OK

ERRORS = 1
"""The exit code where errors are left."""


def fsck(args: Namespace, client: Client) -> int:
    """Ask for a check and show it. Exit code 0: no errors (warnings are shown), 1: errors."""
    return show(args, client.consistency().raw)


def show(args: Namespace, report: Record) -> int:
    """Print the document of a check, a line a finding for people; the exit code."""
    match mode(args):
        case "table":
            for line in _lines(report):
                print_text(line)
        case "json":
            print_one(args, report)
        case _:
            print_list(args, report.get("findings") or [], [], key="code")
    return OK if report.get("clean") else ERRORS


def _lines(report: Record) -> list[str]:
    findings: list[Mapping[str, Any]] = report.get("findings") or []
    lines = [f"mended   {one.get('code')}: {one.get('count')}{_examples(one)}" for one in report.get("repaired") or []]
    lines += [
        f"{one.get('severity', ''):8} {one.get('code')}: {one.get('count')}: {one.get('message')} → {one.get('action')}"
        f"{_examples(one)}"
        for one in findings
    ]
    looked_at: Mapping[str, int] = report.get("looked_at") or {}
    rows = ", ".join(f"{place} {number:,}" for place, number in sorted(looked_at.items()))
    errors = sum(one.get("severity") == "error" for one in findings)
    verdict = "clean" if report.get("clean") else _number(errors, "error")
    warnings = len(findings) - errors
    also = f", {_number(warnings, 'warning')}" if warnings else ""
    return [*lines, f"{verdict}{also}; looked at: {rows}"]


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _examples(found: Mapping[str, Any]) -> str:
    names: list[str] = found.get("examples") or []
    if not names:
        return ""
    left = int(found.get("count") or 0) - len(names)
    return f" ({', '.join(names)}{f' and {left:,} more' if left > 0 else ''})"
