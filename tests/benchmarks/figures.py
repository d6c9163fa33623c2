"""What a benchmark comes to: rounds, medians, ratios in pairs, limits, and a report that is kept as JSON. Pure.

A `Series` holds one number a round. A ratio is taken round by round, of two measurements made next to each other, and
its median is what a limit looks at: whatever else the machine did in a round met both of them.
"""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

Quantity = Literal["value", "ratio"]
Sense = Literal["at least", "at most"]


@dataclass(frozen=True, slots=True)
class Series:
    """One number a round, in the row's unit."""

    rounds: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.rounds:
            raise ValueError("a series needs at least one round")

    @classmethod
    def of(cls, numbers: Iterable[float]) -> Self:
        """A series of these rounds."""
        return cls(tuple(numbers))

    @property
    def median(self) -> float:
        """The middle one; of an even number of rounds the mean of the two in the middle."""
        return statistics.median(self.rounds)

    @property
    def low(self) -> float:
        """The smallest."""
        return min(self.rounds)

    @property
    def high(self) -> float:
        """The largest."""
        return max(self.rounds)


def paired(value: Series, baseline: Series) -> Series:
    """`value` over `baseline`, round by round. Raises ValueError where they are not of the same rounds."""
    return Series.of(own / other for own, other in zip(value.rounds, baseline.rounds, strict=True))


def percentile(numbers: Sequence[float], share: float) -> float:
    """The smallest of `numbers` that at least `share` (0 to 1) of them do not exceed."""
    if not numbers:
        raise ValueError("there is no percentile of nothing")
    ordered = sorted(numbers)
    return ordered[max(0, -int(-share * len(ordered) // 1) - 1)]


@dataclass(frozen=True, slots=True)
class Limit:
    """What a row is held against: its median value, or the median of its ratios."""

    of: Quantity
    sense: Sense
    number: float

    def holds(self, number: float) -> bool:
        """Whether `number` keeps to it."""
        return number >= self.number if self.sense == "at least" else number <= self.number


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `gate` must hold; `aim` is what we want to reach and is only reported."""

    key: str
    title: str
    unit: str
    value: Series
    baseline: Series | None = None
    against: str = ""
    """What the baseline is."""
    gate: Limit | None = None
    aim: Limit | None = None
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """The median of the ratios, None without a baseline."""
        return None if self.baseline is None else paired(self.value, self.baseline).median

    def keeps(self, limit: Limit | None) -> bool | None:
        """Whether a limit holds; None where there is none, or nothing to hold against it."""
        number = None if limit is None else self.value.median if limit.of == "value" else self.ratio
        return None if limit is None or number is None else limit.holds(number)


@dataclass(frozen=True, slots=True)
class Report:
    """One run. `failures`: group → why it could not be measured."""

    at: str
    quick: bool
    machine: Mapping[str, str]
    options: Mapping[str, Any]
    rows: Sequence[Row] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> list[Row]:
        """Rows whose gate does not hold."""
        return [row for row in self.rows if row.keeps(row.gate) is False]

    def to_json(self) -> str:
        """The report, with the medians and ratios spelled out for other programs."""
        rows = [
            {
                **asdict(row),
                "median": row.value.median,
                "ratio": row.ratio,
                "gate_holds": row.keeps(row.gate),
                "aim_reached": row.keeps(row.aim),
            }
            for row in self.rows
        ]
        return json.dumps({**asdict(self), "rows": rows}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The report that `to_json` wrote. Raises ValueError, KeyError or TypeError for anything else."""
        found = json.loads(text)
        return cls(
            at=found["at"],
            quick=found["quick"],
            machine=found["machine"],
            options=found["options"],
            rows=[_row(row) for row in found["rows"]],
            failures=found["failures"],
        )


def _row(found: Mapping[str, Any]) -> Row:
    def limit(name: str) -> Limit | None:
        return None if found[name] is None else Limit(**found[name])

    baseline = found["baseline"]
    return Row(
        key=found["key"],
        title=found["title"],
        unit=found["unit"],
        value=Series.of(found["value"]["rounds"]),
        baseline=None if baseline is None else Series.of(baseline["rounds"]),
        against=found["against"],
        gate=limit("gate"),
        aim=limit("aim"),
        notes=tuple(found["notes"]),
    )
