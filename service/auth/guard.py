"""Lets requests in: who asks, and whether they may."""

from typing import Any

from service.auth.principal import ANYONE, set_principal
from service.auth.scopes import Scope
from service.problems import Problem
from service.settings import ApiSettings


class Guard:
    """Owned by the application; every guarded route asks it first."""

    def __init__(self, settings: ApiSettings) -> None:
        self._is_off = settings.auth == "off"

    async def admit(self, request_scope: dict[str, Any], needed: Scope | None) -> None:
        """Keeps the principal with the request. Raises Problem `unauthenticated` or `forbidden`."""
        if not self._is_off:
            raise Problem("unauthenticated", f"no credentials are known yet that have {needed}")
        set_principal(request_scope, ANYONE)
