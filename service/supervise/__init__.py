"""Supervised child processes: what `errander dev`, `errander worker --processes` and `--with-worker` stand on.

Describe each program as a `Part` and call `run_parts`, or drive a `Supervisor` yourself inside an event loop.
POSIX only. Never reads settings and never looks into what the parts do.
"""

from service.supervise.keeper import PartError
from service.supervise.output import Console, LogFile, last_lines
from service.supervise.part import EXIT_RETIRED, Output, Part, Restart
from service.supervise.ports import free_port, port_taken
from service.supervise.probe import http_ready
from service.supervise.records import end_leftovers
from service.supervise.run import StopSignals, run_parts
from service.supervise.spawn import Account, spawn
from service.supervise.supervisor import Supervisor

__all__ = [
    "EXIT_RETIRED",
    "Account",
    "Console",
    "LogFile",
    "Output",
    "Part",
    "PartError",
    "Restart",
    "StopSignals",
    "Supervisor",
    "end_leftovers",
    "free_port",
    "http_ready",
    "last_lines",
    "port_taken",
    "run_parts",
    "spawn",
]
