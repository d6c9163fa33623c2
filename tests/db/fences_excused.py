"""Conditions that no script and no race shows to be missed, and why each may stand there all the same."""

from tests.db.fences_terms import Condition

_BY_TEXT = "how much a claim brings is counted in bytes, which the model does not know; tests/db/test_claims.py does"
_BEFORE = "what an event tells of former values, which the model does not keep; tests/api/test_job_actions.py reads it"
_LOCKED = "`lock_jobs` holds the row already in this transaction; the lock stands here so that every edge reads alike"

_FITS = Condition("picked", "f.before < CAST (:most_bytes AS bigint)")

EXCUSED: dict[str, dict[tuple[Condition, str], str]] = {
    "claim_by_id": {(_FITS, "true"): _BY_TEXT},
    "claim_by_head": {
        (_FITS, "true"): _BY_TEXT,
        (Condition("counted", "(SELECT count (*) FROM locked) > (SELECT count (*) FROM picked)"), "false"): _BY_TEXT,
    },
    "rescue": {
        (Condition("observed", "FOR NO KEY UPDATE OF w"), "nothing"): (
            "the update that follows locks too; locking first, by id, keeps two reapers from a deadlock"
        ),
        (
            Condition("lost", "h.event = 'rescued'"),
            "true",
        ): "only a rescue says whether it was charged; it names the index's rows",
        (Condition("lost", "j.id = r.id"), "true"): (
            "worker and attempt tie them too: of one dead worker every job is taken, in whichever order they are met"
        ),
        (
            Condition("verdict", "NOT b.free"),
            "true",
        ): "a free rescue adds no crash, and a job that runs has not spent them all",
        (Condition("done", "j.failures + l.crashes > 0"), "true"): (
            "a rescue charges a crash unless the job has had one, so PENDING is never where it leads"
        ),
    },
    "cancel": {(Condition("locked", "FOR NO KEY UPDATE"), "nothing"): _LOCKED},
    "expire": {
        (
            Condition("locked", "r.expires_at <= now ()"),
            "true",
        ): "judged anew on the job; the earliest come first in any case",
        (
            Condition("locked", "r.expires_at IS NOT NULL"),
            "true",
        ): "nothing that is NULL has passed; it names the partial index",
    },
    "replay": {
        (Condition("locked", "FOR NO KEY UPDATE"), "nothing"): _LOCKED,
        **{
            (Condition(part, text), value): _BEFORE
            for part, text in (
                ("replayed", "CAST (:payload AS jsonb) IS NULL"),
                ("replayed", "CAST (:max_attempts AS integer) IS NULL"),
                ("noted", "r.before = '{}' ::jsonb"),
            )
            for value in ("true", "false")
        },
    },
}
"""Statement → condition and what it became → why the statement does the same without it, or who looks at it instead."""
