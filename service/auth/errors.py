"""What is wrong with a credential."""

from service.http.problems import Problem

REALM = 'Bearer realm="errander"'


def missing() -> Problem:
    """Nothing was sent."""
    return Problem(
        "unauthenticated",
        "send an API key or a JWT as `Authorization: Bearer …`",
        headers={"WWW-Authenticate": REALM},
    )


def refused(why: str) -> Problem:
    """Something was sent that is not valid; `why` is for people, and the same for a secret that is nearly right."""
    return Problem(
        "unauthenticated",
        why,
        headers={"WWW-Authenticate": f'{REALM}, error="invalid_token", error_description="{why}"'},
    )


def lacks(scope: str) -> Problem:
    """The credential is valid and not enough."""
    return Problem(
        "forbidden",
        f"this needs the scope {scope}, which the credential does not have",
        headers={"WWW-Authenticate": f'{REALM}, error="insufficient_scope", scope="{scope}"'},
        scope=scope,
    )
