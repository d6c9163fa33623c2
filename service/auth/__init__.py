"""Who asks, and what they may do.

    Guard        in front of every route: authenticates, then looks at the route's scope
    Principal    who asks: a name, a tenant, scopes, and what an API key is narrowed to
    keys, key_records    API keys, and what is known of each        issuing    making them
    tokens, jwks         JWTs, and the keys of their issuer         refusals   who was turned away, in the log

A route says its scope where it is declared (`service.openapi.document.operation`), and one that says nothing stops the application
from starting: there is no way to forget it. The tenant comes from the credential and from nowhere else.
"""
