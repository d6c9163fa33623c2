"""Taking any one fence out of any statement gives a wrong result: no condition is there for nothing.

The fences that a race needs to be missed are written down one by one and played in scenes of their own. Besides, every
condition that stands in an edge's text is found there, is made true and made false, and a script that is judged against
the model has to show the difference, unless a fence of the first kind has, or the condition is excused by name.
"""

import re
from collections import Counter
from collections.abc import Iterator

import pytest

from db import statements
from db.errors import BadRow, DatabaseError, Locked
from db.lifecycle import TRANSITIONS
from tests.db.fence import Fence
from tests.db.fences_excused import EXCUSED
from tests.db.fences_of_attempts import EXPIRE, FINISHING, RESCUE
from tests.db.fences_of_claims import CLAIM_BY_HEAD, CLAIM_BY_ID
from tests.db.fences_of_upkeep import CLIENT, UPKEEP
from tests.db.fences_scripts import SCRIPTS
from tests.db.fences_terms import Condition, conditions, mutants
from tests.db.model_play import Play
from tests.db.model_world import World, a_world
from tests.db.racing import Gate
from tests.db.scene import Scene
from tests.db.texts import Texts
from tests.fixtures.servers import Databases

FENCES: list[Fence] = [*CLAIM_BY_ID, *CLAIM_BY_HEAD, *FINISHING, *RESCUE, *EXPIRE, *CLIENT, *UPKEEP]


@pytest.mark.parametrize("fence", FENCES, ids=str)
async def test_with_its_fence_a_statement_does_the_right_thing(scene: Scene, gate: Gate, fence: Fence) -> None:
    assert await fence.play(scene, gate) == fence.right


@pytest.mark.parametrize("fence", FENCES, ids=str)
async def test_without_its_fence_a_statement_goes_wrong(scene: Scene, gate: Gate, texts: Texts, fence: Fence) -> None:
    texts.replace(fence.statement, fence.condition, fence.instead, times=fence.times)
    try:
        wrong = await fence.play(scene, gate)
    except DatabaseError:
        return  # it waited for a lock, or wrote what a constraint refuses
    assert wrong != fence.right


WALKED = {name for edge in TRANSITIONS for name in edge.statements}


def test_every_statement_that_walks_an_edge_has_its_fences_proved() -> None:
    assert {fence.statement for fence in FENCES} >= WALKED
    assert set(SCRIPTS) == WALKED
    assert set(EXCUSED) <= WALKED


def proved(name: str) -> set[Condition]:
    """The conditions of a statement that the fences above take out, wherever each stands in its part."""
    text = statements.source(name)
    whole, gone = conditions(text), Counter[Condition]()
    for fence in FENCES:
        if fence.statement == name:
            gone |= whole - conditions(text.replace(fence.condition, fence.instead))
    return {condition for condition in gone if gone[condition] >= whole[condition]}


@pytest.fixture(scope="module")
def world(databases: Databases, template_database: str) -> Iterator[World]:
    """One database for all the scripts, and one loop."""
    with a_world(databases, template_database) as opened:
        yield opened


def perform(name: str, world: World) -> None:
    """Plays what is played for a statement. Raises AssertionError where it does anything but what the model says."""
    for script in SCRIPTS[name]:
        script(Play(world, Counter()))


@pytest.mark.parametrize("name", sorted(SCRIPTS))
def test_every_condition_of_an_edge_is_missed_where_it_is_taken_out(world: World, texts: Texts, name: str) -> None:
    perform(name, world)
    alive, by_race, now = set(), proved(name), statements.source(name)
    for mutant in mutants(name):
        if mutant.condition in by_race and mutant.value != "false":
            continue
        texts.replace(name, now, mutant.text)
        now = mutant.text
        try:
            perform(name, world)
        except (AssertionError, BadRow, Locked):
            continue
        alive.add((mutant.condition, mutant.value))
    assert alive == set(EXCUSED.get(name, {}))


@pytest.mark.parametrize("part", ["claimable", "alive", "mine"])
def test_every_condition_of_a_shared_predicate_is_taken_out_once(part: str) -> None:
    text = (statements.FOLDER / "parts" / f"{part}.sql").read_text()
    columns = set(re.findall(r"\b([jrw]\.[a-z_]+|errander\.[a-z]+_pauses)\b", text))
    users = {"claimable": "claim_by_id", "alive": "claim_by_id", "mine": "succeed"}
    proved = " ".join(fence.condition for fence in FENCES if fence.statement == users[part])
    assert {column for column in columns if column not in proved} == set()
