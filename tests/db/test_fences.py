"""Taking any one fence out of any statement gives a wrong result: no condition is there for nothing."""

import re

import pytest

from db import statements
from db.errors import DatabaseError
from db.lifecycle import TRANSITIONS
from tests.db.fence import Fence
from tests.db.fences_of_attempts import EXPIRE, FINISHING, RESCUE
from tests.db.fences_of_claims import CLAIM_BY_HEAD, CLAIM_BY_ID
from tests.db.fences_of_upkeep import CLIENT, UPKEEP
from tests.db.racing import Gate
from tests.db.scene import Scene
from tests.db.texts import Texts

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


def test_every_statement_that_walks_an_edge_has_its_fences_proved() -> None:
    walked = {name for edge in TRANSITIONS for name in edge.statements}
    assert walked <= {fence.statement for fence in FENCES}


@pytest.mark.parametrize("part", ["claimable", "alive", "mine"])
def test_every_condition_of_a_shared_predicate_is_taken_out_once(part: str) -> None:
    text = (statements.FOLDER / "parts" / f"{part}.sql").read_text()
    columns = set(re.findall(r"\b([jrw]\.[a-z_]+|errander\.[a-z]+_pauses)\b", text))
    users = {"claimable": "claim_by_id", "alive": "claim_by_id", "mine": "succeed"}
    proved = " ".join(fence.condition for fence in FENCES if fence.statement == users[part])
    assert {column for column in columns if column not in proved} == set()
