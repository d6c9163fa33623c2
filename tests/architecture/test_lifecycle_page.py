"""`docs/lifecycle.md` says what the code does."""

import ast
import re

from db.lifecycle import FINAL, TRANSITIONS, JobStatus
from tests.architecture.tree import ROOT, functions, tree

PAGE = (ROOT / "docs/lifecycle.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the first table under a heading."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_its_edges_are_those_of_the_code() -> None:
    written = {
        (
            cells[0].strip("`"),
            frozenset(cells[1].split(", ")),
            frozenset(cells[2].split(", ")),
            tuple(re.findall(r"`(\w+)`", cells[3])),
        )
        for cells in rows("Edges")
    }
    coded = {
        (edge.name, frozenset(map(str, edge.sources)), frozenset(map(str, edge.targets)), edge.statements)
        for edge in TRANSITIONS
    }
    assert written == coded


def test_its_statuses_are_those_of_the_code_and_final_ones_are_said_to_be() -> None:
    found = {cells[0]: cells[1] for cells in rows("Statuses")}
    assert set(found) == {str(status) for status in JobStatus}
    assert {name for name, text in found.items() if text.startswith("final")} == {str(status) for status in FINAL}


def test_the_hops_are_at_most_eight_and_all_exist() -> None:
    hops = re.findall(r"^(\d)\. `([\w/]+\.py)`, `(\w+)`(?: or `(\w+)`)?:", PAGE, re.MULTILINE)
    assert [int(number) for number, *_ in hops] == list(range(1, len(hops) + 1))
    assert 5 <= len(hops) <= 8
    for _, path, *names in hops:
        known = {function.name for function in functions(ROOT / path)}
        assert {name for name in names if name} <= known, path


def test_every_file_it_names_exists() -> None:
    for path in re.findall(r"`((?:db|workers|service|docs)/[\w/]+(?:\.\w+)?/?)`", PAGE):
        assert (ROOT / path).exists(), path


def test_its_loops_are_those_of_the_code() -> None:
    told = {cells[0].strip("`") for cells in rows("One job through the code")}
    coded = {
        statement.value.value
        for path in (ROOT / "workers/loops").glob("*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Loop" for base in node.bases)
        for statement in node.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
    }
    assert told == coded


def test_every_status_stands_in_the_models_check() -> None:
    constants = {
        node.value
        for node in ast.walk(tree(ROOT / "db/models.py"))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert any(all(f"'{status}'" in value for status in JobStatus) for value in constants)
