"""Logs of every process of the server: fixed dotted event names, data in fields; console for people, JSON for machines.

Every line passes through `workers.redaction` before it is written, those of other libraries and tracebacks too.
"""

import logging
import sys

import structlog

from workers.redaction import one_line, redact

_QUIET = ("alembic", "httpcore", "httpx", "sqlalchemy")
"""Never below a warning: alembic says at every start that it found nothing to do; the others write URLs with their
queries, headers of answers, and rows."""


def set_up(log_format: str | None = None, level: str = "info") -> None:
    """Configures structlog and the standard library's logging to write one stream, standard error.

    `log_format` `console` or `json`; None: console on a terminal. Task code that uses `logging` is written too.
    """
    machine = log_format == "json" or (log_format is None and not sys.stderr.isatty())
    threshold = logging.getLevelNamesMapping().get(level.upper(), logging.INFO)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    last: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer()]
        if machine
        else [one_line, structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                # a plain traceback: the console's own would show local variables where `rich` is installed
                structlog.processors.format_exc_info,
                redact,
                *last,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(threshold)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(threshold, logging.WARNING))
