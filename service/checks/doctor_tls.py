"""What the doctor says about the way to a store: whether it is encrypted, and why a certificate was refused. Pure."""

from db.urls import Encryption

_TEXTS = {
    Encryption.VERIFIED: "encrypted, the certificate and the name of the server are checked",
    Encryption.VERIFIED_ISSUER: "encrypted; any certificate of the same authority is taken for this server's",
    Encryption.UNVERIFIED: "encrypted, but with whoever answers: no certificate is checked",
    Encryption.OPPORTUNE: "encrypted only if the server offers it, and nobody would notice if it did not",
    Encryption.NONE: "in clear: passwords, payloads and results can be read on the way",
}
_TODO = {
    "postgres": "outside a network that you trust, put sslmode=verify-full&sslrootcert=FILE (or =system) in DATABASE_URL",
    "redis": "outside a network that you trust, use rediss:// with ssl_ca_certs=FILE in REDIS_URL",
}
_GOOD = (Encryption.VERIFIED, Encryption.VERIFIED_ISSUER)


def described(store: str, found: Encryption) -> tuple[bool, str, str]:
    """Whether it is well, what it is, and what to do, for `postgres` or `redis`."""
    return found in _GOOD, _TEXTS[found], "" if found in _GOOD else _TODO[store]


def refused_certificate(store: str, words: str) -> str | None:
    """What to do about an error of a connection, where a certificate is the reason."""
    lower = words.lower()
    parameter = "sslrootcert in DATABASE_URL" if store == "postgres" else "ssl_ca_certs in REDIS_URL"
    if "hostname mismatch" in lower or "ip address mismatch" in lower:
        return "connect by a name that stands in the server's certificate, or give it one with this name"
    if any(
        sign in lower for sign in ("certificate_verify_failed", "certificate verify failed", "root certificate file")
    ):
        return f"name the authority of the server's certificate: {parameter}"
    if "wrong_version_number" in lower or "rejected ssl upgrade" in lower:
        return "the server speaks no TLS on this port; enable it there, or take TLS out of the address"
    if "certificate_required" in lower or "certificate required" in lower:
        names = "sslcert and sslkey" if store == "postgres" else "ssl_certfile and ssl_keyfile"
        return f"the server wants a certificate of this client: {names}"
    return None
