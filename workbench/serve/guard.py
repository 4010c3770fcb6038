"""Who may ask at all: the key, and where there is none, that the request is from this machine and not from a page."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

from workbench.core.errors import BadInputError
from workbench.serve.openai_api import ApiError
from workbench.serve.ports import is_loopback

OPEN_PATHS = frozenset({"/health"})
_LEAST_KEY = 8


class Guard:
    """Checks a request by its headers alone, before any of its body is read. Raises BadInputError for an address that
    others reach and no key.
    """

    def __init__(self, host: str, key: str | None) -> None:
        if key is None and not is_loopback(host):
            raise BadInputError(
                f"A server that others can reach needs a key: {host}",
                evidence="no key was given",
                fix="Give a key (--new-key makes one), or serve on 127.0.0.1.",
                code="key-needed",
            )
        if key is not None and (len(key) < _LEAST_KEY or not key.isascii() or not key.isprintable() or " " in key):
            raise BadInputError(
                "The key cannot be used.",
                evidence=f"{len(key)} characters; at least {_LEAST_KEY} are wanted, of ASCII without spaces",
                fix="Make one with --new-key.",
                code="bad-key",
            )
        self._key = None if key is None else key.encode()

    @property
    def has_key(self) -> bool:
        return self._key is not None

    def check(self, path: str, headers: list[tuple[bytes, bytes]]) -> None:
        """Raises ApiError 401 or 403."""
        if path in OPEN_PATHS:
            return
        if self._key is None:
            self._check_from_here(headers)
            return
        given = [value for name, value in headers if name == b"authorization"]
        scheme, _, token = (given[0] if len(given) == 1 else b"").partition(b" ")
        # In constant time, and also where nothing was given.
        same = hmac.compare_digest(token.strip(), self._key)
        if scheme.lower() != b"bearer" or not same:
            words = "The key is wrong." if token else "A key is needed: Authorization: Bearer KEY."
            raise ApiError(401, words, code="invalid_api_key", headers={"www-authenticate": "Bearer"})

    @staticmethod
    def _check_from_here(headers: list[tuple[bytes, bytes]]) -> None:
        """Without a key: a name that was made to point here (DNS rebinding) and pages of other sites are refused."""
        hosts = [value for name, value in headers if name == b"host"]
        if len(hosts) != 1 or not is_loopback(_hostname("//" + hosts[0].decode("latin-1"))):
            raise ApiError(
                403, "This server has no key and answers to 127.0.0.1 and localhost alone.", code="host_not_allowed"
            )
        for name, value in headers:
            if name == b"origin" and not is_loopback(_hostname(value.decode("latin-1"))):
                raise ApiError(403, "Web pages may not ask this server.", code="origin_not_allowed")


def _hostname(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
