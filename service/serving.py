"""Running the application under uvicorn: one process, or several on one port."""

import signal

import uvicorn

from service.settings import ApiSettings
from workers import garbage

APPLICATION = "service.main:create_app"
PROTOCOL = "service.http.protocol:Protocol"
"""Of every connection: uvicorn's, with limits, and answers in our form."""

GRACE_SECONDS = 20
"""How long requests may still take after SIGTERM; held answers are released at once."""
KEEP_ALIVE_SECONDS = 75
"""Longer than the idle timeout of common load balancers (60 s), so that they close a connection first."""


def serve(settings: ApiSettings, *, host: str, port: int, processes: int) -> None:
    """Serves until a signal, and returns: uvicorn raises the signal again when it has stopped, for handlers that were
    there before it; without one the process would end as if it had been killed.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)
    if processes == 1:
        garbage.pause()  # the application is loaded in this process, and settles it
    uvicorn.run(
        APPLICATION,
        factory=True,
        host=host,
        port=port,
        workers=processes if processes > 1 else None,
        loop="uvloop",
        http=PROTOCOL,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        date_header=True,
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
