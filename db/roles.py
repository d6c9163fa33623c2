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
    "tcp_keepalives_idle": "10",
    "jit": "off",
}
"""Name → value, as `errander migrate` sets them and `errander doctor` checks them."""
