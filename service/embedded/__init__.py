"""Real PostgreSQL and Valkey from wheels, for `errander dev` and the tests: nothing to install, nothing shared.

    with EmbeddedPostgres(folder / "postgres") as postgres, EmbeddedValkey(folder / "valkey") as valkey:
        use(postgres.url, valkey.url)

They listen on loopback only, keep their files between runs, and never touch a server that is not their own.
"""

from service.embedded.errors import EmbeddedError, ServersMissingError, ServerStartError
from service.embedded.home import remove
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.server import EmbeddedServer
from service.embedded.valkey import EmbeddedValkey

__all__ = [
    "EmbeddedError",
    "EmbeddedPostgres",
    "EmbeddedServer",
    "EmbeddedValkey",
    "ServerStartError",
    "ServersMissingError",
    "remove",
]
