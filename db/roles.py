"""Limits on the server's side, as settings of the role in this database.

They are role settings and not startup parameters, because PgBouncer in transaction mode passes none of those on.
Migrations, bulk chunks and prunes raise their own limit with SET LOCAL.
"""

ROLE_SETTINGS: dict[str, str] = {
    # A plan made for an empty queue is kept by a generic plan for a full one (a claim then takes 100 times as long).
    "plan_cache_mode": "force_custom_plan",
    "statement_timeout": "5s",
    "lock_timeout": "2s",
    # A client that vanished holds its row locks no longer than this.
    "idle_in_transaction_session_timeout": "10s",
    "client_connection_check_interval": "5s",
    # A peer that is gone without a word is noticed after 10 + 3 * 5 s.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    # An open transaction keeps every dead row since it began, and claims then look at all of them. The longest of ours
    # that is meant to be long, a look at consistency, has some statements of 3 s each.
    "transaction_timeout": "2min",
    "jit": "off",
}
"""Name → value, as `errander migrate` sets them and `errander doctor` checks them."""

_SINCE = {"transaction_timeout": 170_000}  # what older servers do not know


def role_settings(version: int) -> dict[str, str]:
    """Those of `ROLE_SETTINGS` that a server knows; `version` as in `server_version_num`."""
    return {name: value for name, value in ROLE_SETTINGS.items() if version >= _SINCE.get(name, 0)}
