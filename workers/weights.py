"""How a worker's free slots are shared between the priorities it serves. Pure.

Smooth weighted round robin, 6:3:1: each slot goes to the queue with the most credit; every queue that has something
due earns its weight a slot, and who is served pays the sum. Credits are kept across takes, so that a worker with one
slot shares as fairly as one with a hundred, and what one queue leaves unused goes to the others in the same round, so
low never starves.
"""

from collections.abc import Mapping

WEIGHTS: Mapping[str, int] = {"high": 6, "default": 3, "low": 1}


class Shares:
    """The credits of one worker."""

    def __init__(self, weights: Mapping[str, int] = WEIGHTS) -> None:
        self._weights = dict(weights)
        self._credits = dict.fromkeys(weights, 0)

    def allot(self, slots: int, due: Mapping[str, int]) -> dict[str, int]:
        """Shares `slots` over the priorities that have something `due` (how much); the shares, none above its due."""
        shares: dict[str, int] = {}
        for given in range(slots):
            open_queues = [name for name, count in due.items() if count > shares.get(name, 0)]
            if not open_queues:
                break
            if len(open_queues) == 1:  # nobody to be fair to, so nobody pays
                name = open_queues[0]
                shares[name] = min(due[name], shares.get(name, 0) + slots - given)
                break
            chosen = self._serve(open_queues)
            shares[chosen] = shares.get(chosen, 0) + 1
        return shares

    def _serve(self, queues: list[str]) -> str:
        for name in queues:
            self._credits[name] += self._weights[name]
        chosen = max(queues, key=lambda name: (self._credits[name], self._weights[name]))
        self._credits[chosen] -= sum(self._weights[name] for name in queues)
        return chosen
