"""A report for people: a table in Markdown, and the part of docs/performance.md that comes from a run. Pure."""

from collections.abc import Mapping
from typing import Final

from tests.benchmarks.figures import Limit, Report, Row

BEGIN: Final = "<!-- figures: written by a run, do not edit -->"
END: Final = "<!-- end of figures -->"

_TIMES: Final = "\N{MULTIPLICATION SIGN}"
_HEAD: Final = (
    "| what | measured (range) | against | ratio | must | wanted |",
    "|---|---|---|---|---|---|",
)


def shown(number: float, unit: str = "") -> str:
    """A number to three digits or so, with its unit."""
    digits = 0 if abs(number) >= 100 else 1 if abs(number) >= 10 else 2
    text = f"{number:,.{digits}f}"
    if digits:
        text = text.rstrip("0").rstrip(".")
    return f"{text} {unit}" if unit else text


def table(report: Report) -> str:
    """Every row, and whether its limits hold."""
    return "\n".join([*_HEAD, *(_line(row) for row in report.rows)])


def summary(report: Report) -> str:
    """What a reader has to know beside the table: misses, failures, notes."""
    lines = [f"- {row.title}: {note}" for row in report.rows for note in row.notes]
    lines += [f"- MISSED: {row.title}, {_measured_for(row, row.gate)}" for row in report.missed]
    lines += [f"- NOT MEASURED: {group}: {why}" for group, why in report.failures.items()]
    return "\n".join(lines)


def machine_line(machine: Mapping[str, str]) -> str:
    """One line that says what it ran on."""
    return ", ".join(machine.values())


def section(report: Report) -> str:
    """The part of the page between its marks."""
    kind = "a quick run: too short to judge anything by" if report.quick else "a full run"
    parts = [
        BEGIN,
        "",
        f"{report.at[:10]}, {kind}. {machine_line(report.machine)}.",
        "",
        table(report),
    ]
    words = summary(report)
    if words:
        parts += ["", words]
    return "\n".join([*parts, "", END])


def written_into(page: str, report: Report) -> str:
    """The page with its figures replaced. Raises ValueError where it has no place for them."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for figures: {BEGIN} … {END}")
    return before + section(report) + after


def _line(row: Row) -> str:
    spread = ""
    if len(row.value.rounds) > 1:
        spread = f" ({shown(row.value.low)} to {shown(row.value.high)})"
    against = "" if row.baseline is None else f"{row.against}: {shown(row.baseline.median, row.unit)}"
    ratio = "" if row.ratio is None else f"{_ratio(row.ratio)}{_TIMES}"
    cells = [row.title, shown(row.value.median, row.unit) + spread, against, ratio]
    return "| " + " | ".join([*cells, _limit(row, row.gate), _limit(row, row.aim)]) + " |"


def _limit(row: Row, limit: Limit | None) -> str:
    if limit is None:
        return ""
    sign = "≥" if limit.sense == "at least" else "≤"
    number = f"{_ratio(limit.number)}{_TIMES}" if limit.of == "ratio" else shown(limit.number, row.unit)
    verdict = {True: "yes", False: "**no**", None: "?"}[row.keeps(limit)]
    return f"{sign} {number}: {verdict}"


def _measured_for(row: Row, limit: Limit | None) -> str:
    if limit is not None and limit.of == "ratio" and row.ratio is not None:
        return f"{_ratio(row.ratio)}{_TIMES} of {row.against}"
    return shown(row.value.median, row.unit)


def _ratio(number: float) -> str:
    """Small ratios need their own digits: 0.0042 is not 0."""
    return f"{number:.2g}" if abs(number) < 0.1 else shown(number)
