"""A picture of a report: each row that has a baseline as a bar on a scale of ratios, with its gate."""

from pathlib import Path

from tests.benchmarks.figures import Report, Row, paired


def write(report: Report, path: Path) -> None:
    """Writes a PNG of every row with a ratio; of a report without any, nothing."""
    import matplotlib as mpl

    mpl.use("Agg")  # no display is needed
    from matplotlib import pyplot as plt

    rows = [row for row in report.rows if row.baseline is not None][::-1]
    if not rows:
        return
    figure, axes = plt.subplots(figsize=(11, 1.5 + 0.45 * len(rows)), layout="constrained")
    for position, row in enumerate(rows):
        _draw(axes, position, row)
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [f"{row.title}\nagainst {row.against}" for row in rows], fontsize=8)
    axes.set_xlabel("ratio to the baseline, median and range of rounds; the mark is the gate")
    kind = ", a quick run" if report.quick else ""
    axes.set_title(f"{report.at[:10]}{kind}: {report.machine.get('processor', '')}", fontsize=10)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _draw(axes: object, position: int, row: Row) -> None:
    assert row.baseline is not None
    ratios = paired(row.value, row.baseline)
    colour = "tab:red" if row.keeps(row.gate) is False else "tab:blue"
    axes.barh(position, ratios.median, color=colour, height=0.6)  # type: ignore[attr-defined]  # no types here
    axes.hlines(position, ratios.low, ratios.high, color="black", linewidth=1.2)  # type: ignore[attr-defined]
    if row.gate is not None and row.gate.of == "ratio":
        axes.vlines(row.gate.number, position - 0.4, position + 0.4, color="black", linewidth=2)  # type: ignore[attr-defined]
