"""Requests to addresses that somebody else chose: an HTTP client that reaches public servers only, and what it refuses."""

from workers.outbound.guard import OutboundRefused
from workers.outbound.policy import OutboundPolicy
from workers.outbound.transport import OutboundTooLarge, guarded_client

__all__ = ["OutboundPolicy", "OutboundRefused", "OutboundTooLarge", "guarded_client"]
