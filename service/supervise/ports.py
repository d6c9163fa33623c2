"""Loopback ports: find a free one, tell whether a given one is taken."""

import errno
import random
import socket

# Below what Linux (32768) and macOS (49152) hand out for outgoing connections: a port that is chosen now and
# bound in a moment, or again after a restart, is not lost to a passing connection meanwhile.
_LOWEST, _HIGHEST = 20_000, 32_000
_TRIES = 200
# EACCES: a port that this user may not bind is no better than a taken one.
_IN_USE = frozenset({errno.EADDRINUSE, errno.EACCES})


def free_port(host: str = "127.0.0.1") -> int:
    """A port of `host` that nobody listens on right now. Raises OSError when none is found."""
    for _ in range(_TRIES):
        port = random.randint(_LOWEST, _HIGHEST)
        if not port_taken(port, host):
            return port
    raise OSError(f"no free port on {host} between {_LOWEST} and {_HIGHEST}")


def port_taken(port: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody listens on the port. Raises OSError when `host` is no address of this machine."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.socket(family, kind, protocol) as probe:
        # As servers do: a closed connection's leftovers on the port do not count.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
        except OSError as error:
            if error.errno in _IN_USE:
                return True
            raise
    return False
