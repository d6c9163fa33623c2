"""Acts on the tables and on the model, one after the other or two at once, each judged."""

from collections import Counter
from datetime import timedelta
from typing import Any
from uuid import UUID

from tests.db.model import Model
from tests.db.model_acts import Act
from tests.db.model_looks import answers
from tests.db.model_races import Plan, outcomes, race
from tests.db.model_rules import broken, broken_in
from tests.db.model_world import Read, World

Walked = Counter[tuple[str, str]]
"""What was done and the status it led to, or what it did without an edge."""


class Play:
    """From an empty database on: what both sides hold, and what was done."""

    model: Model
    seen: Read

    def __init__(self, world: World, walked: Walked) -> None:
        self.world = world
        self.walked = walked
        self.model = world.empty()
        self.seen = world.read(self.model)

    def say(self, line: str) -> None:
        """For whoever keeps a record of it."""

    def do(self, *acts: Act) -> None:
        """Each must answer what the model answers, leave the tables as the model is, and keep the rules."""
        for act in acts:
            self.say(f"at {self.model.now:%d %H:%M:%S}: {act}")
            statuses = {job.id: job.status for job in self.model.jobs.values()}
            told = act.tell(self.model)
            answer = self.world.play(act)
            assert answer == told, f"{act} answered {answer}, and the model {told}"
            self._judge(act)
            for job in self.model.jobs.values():
                if statuses.get(job.id) is not job.status:
                    self.walked[act.kind, str(job.status)] += 1

    def do_both(self, first: Act, second: Act, plan: Plan) -> None:
        """Two at once: what is answered and found must be what one of their two orders makes it."""
        self.say(f"at {self.model.now:%d %H:%M:%S}: {first} and {second}, {plan}")
        answers = race(self.world, first, second, plan)
        self.seen = self.world.read(self.model)
        for outcome in outcomes(self.model, first, second, answers, kept=plan.kept):
            said = outcome.agrees(first, second, answers, self.model)
            if said and not self.seen.differences(outcome.model):
                self.model = outcome.model
                self.walked["race", outcome.order] += 1
                break
        else:
            raise AssertionError(self._neither(first, second, answers, plan))
        wrong = broken_in(self.seen)
        assert not wrong, f"{first} and {second} broke a rule:\n" + "\n".join(wrong)

    def _neither(self, first: Act, second: Act, answers: tuple[Any, Any], plan: Plan) -> str:
        """What was found, against each of the orders."""
        lines = [f"{first} and {second} ({plan}) answered {answers}, which is no order of the two:"]
        for outcome in outcomes(self.model, first, second, answers, kept=plan.kept):
            lines += [f"- {outcome.order}: {outcome.first} and {outcome.second}"]
            lines += self.seen.differences(outcome.model)
        return "\n".join(lines)

    def _judge(self, act: Act) -> None:
        before, self.seen = self.seen, self.world.read(self.model)
        different = self.seen.differences(self.model)
        assert not different, f"after {act}:\n" + "\n".join(different)
        wrong = broken(before, self.seen)
        assert not wrong, f"{act} broke a rule:\n" + "\n".join(wrong)

    def ask(self, worker: UUID) -> None:
        """What the statements say that change nothing."""
        said, told = answers(self.world, self.model, worker)
        for question, answer in told.items():
            assert said[question] == answer, f"{question}: {said[question]}, and the model {answer}"
        self.walked["ask", "answered"] += 1

    def wait(self, seconds: float) -> None:
        """Time passes for both."""
        self.model.now += timedelta(seconds=seconds)
        self.world.set_clock(self.model)

    def blame(self, job_id: UUID, times: int) -> None:
        """Puts old errors into a job's row, as if it had failed so often before its last replay."""
        self.model.jobs[job_id].errors = [(0, "error")] * times
        self.world.run(
            self.world.eye.execute(
                """UPDATE errander.jobs SET errors = (SELECT jsonb_agg('{"attempt": 0, "kind": "error"}'::jsonb)
                   FROM generate_series(1, $2::int)) WHERE id = $1""",
                job_id,
                times,
            )
        )
        self.seen = self.world.read(self.model)
