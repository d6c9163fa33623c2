"""What a run prints and writes into the page."""

from pathlib import Path

import pytest

from tests.benchmarks import report
from tests.benchmarks.figures import Limit, Report, Row, Series
from tests.benchmarks.report import BEGIN, END, shown, table, written_into
from tests.benchmarks.rows import GROUPS, LINES, row, unknown_groups

PAGE = Path(__file__).parents[2] / "docs/performance.md"


def made(*rows: Row, failures: dict[str, str] | None = None, quick: bool = False) -> Report:
    return Report("2030-01-02T00:00:00Z", quick, {"cores": "2 cores", "memory": "24 GiB"}, {}, rows, failures or {})


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.5, "0.5"), (3.14159, "3.14"), (10, "10"), (12.34, "12.3"), (1234.5, "1,234"), (100, "100")],
)
def test_numbers_are_shown_to_about_three_digits(number: float, text: str) -> None:
    assert shown(number) == text
    assert shown(number, "ms") == f"{text} ms"


def test_a_line_has_median_range_baseline_ratio_and_verdicts() -> None:
    line = Row(
        "drain.arq",
        "drain",
        "jobs/s",
        Series.of([10_000, 12_000, 11_000]),
        Series.of([1_000, 1_000, 1_000]),
        "stock arq",
        Limit("ratio", "at least", 10),
        Limit("value", "at least", 15_000),
    )
    last = table(made(line)).splitlines()[-1]
    times = "\N{MULTIPLICATION SIGN}"
    assert last == (
        f"| drain | 11,000 jobs/s (10,000 to 12,000) | stock arq: 1,000 jobs/s | 11{times} "
        f"| ≥ 10{times}: yes | ≥ 15,000 jobs/s: **no** |"
    )


def test_misses_and_failures_are_said_below_the_table() -> None:
    missed = Row("k", "slow thing", "ms", Series.of([5]), gate=Limit("value", "at most", 3))
    said = report.summary(made(missed, failures={"bulk": "it broke"}))
    assert "MISSED: slow thing, 5 ms" in said
    assert "NOT MEASURED: bulk: it broke" in said


def test_the_page_has_one_place_for_figures_and_they_replace_each_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert (page.count(BEGIN), page.count(END)) == (1, 1)
    first = written_into(page, made(row("pickup.woken", Series.of([1]))))
    assert "| workers woken a job | 1 |" in first
    second = written_into(first, made(row("pickup.woken", Series.of([2])), quick=True))
    assert "| workers woken a job | 2 |" in second
    assert "| workers woken a job | 1 |" not in second
    assert "a quick run" in second
    assert second.partition(BEGIN)[0] == page.partition(BEGIN)[0]
    assert second.partition(END)[2] == page.partition(END)[2]


def test_a_page_without_a_place_for_figures_is_left_alone() -> None:
    with pytest.raises(ValueError, match="no place"):
        written_into(f"text {BEGIN} text", made())


def test_titles_take_their_numbers_from_the_run() -> None:
    words = {"waiting": "1,000,000", "few": "10,000"}
    found = row("backlog.rate", Series.of([9]), Series.of([10]), words=words)
    assert (found.title, found.against) == ("drain with 1,000,000 jobs waiting", "10,000 waiting")
    assert found.keeps(found.gate) is True


def test_every_line_belongs_to_a_group_and_gates_of_ratios_have_a_baseline() -> None:
    assert {key.partition(".")[0] for key in LINES} == set(GROUPS)
    for key, line in LINES.items():
        for limit in (line.gate, line.aim):
            assert limit is None or limit.of == "value" or line.against, key


def test_unknown_groups_are_named() -> None:
    assert unknown_groups(["drain", "nothing", "pickup"]) == ["nothing"]
