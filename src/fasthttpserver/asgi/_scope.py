"""What an application is told of a connection and a request: the scope."""

from __future__ import annotations

import re
import ssl
from typing import Any
from urllib.parse import unquote_to_bytes

from fasthttpserver.asgi._types import Scope
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest

__all__ = ["ConnectionScope"]

# https://asgi.readthedocs.io/en/stable/specs/www.html
_SPEC_VERSION = "2.5"

# The extensions of the specification that need nothing of the client.
_EXTENSIONS = ("http.response.early_hint", "http.response.pathsend", "http.response.trailers")


class ConnectionScope:
    """What is the same for all requests of a connection.

    Args:
        connection: Which one.
        root_path: Where the application is mounted.
    """

    __slots__ = ("_client", "_root_path", "_scope", "_told_by_proxy")

    def __init__(self, connection: HTTPConnection, root_path: str) -> None:
        self._root_path = root_path
        address = connection.address
        self._client = address[:2] if isinstance(address, tuple) else None
        own = connection.get_extra_info("sockname")
        # Then client and scheme are the request's.
        self._told_by_proxy = connection.xheaders
        extensions: dict[str, Any] = {name: {} for name in _EXTENSIONS}
        ssl_object = connection.get_extra_info("ssl_object")
        if ssl_object is not None:
            extensions["tls"] = _describe_tls(ssl_object)
        # With a place for what is a request's own: a copy costs less than a new one.
        self._scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": _SPEC_VERSION},
            "http_version": "1.1",
            # Of a Unix socket it is the path.
            "server": own[:2] if isinstance(own, tuple) else (own, None) if own else None,
            "client": self._client,
            "scheme": connection.protocol or ("https" if connection.is_tls else "http"),
            "method": "",
            "root_path": root_path,
            "path": "",
            "raw_path": b"",
            "query_string": b"",
            "headers": [],
            "state": {},
            "extensions": extensions,
        }

    def of(self, request: HTTPRequest, state: dict[str, Any]) -> Scope:
        """Return the scope of a request.

        Args:
            request: Which one.
            state: What the application's start has left for its requests.
        """
        scope = self._scope.copy()
        uri = request.uri
        path = uri if uri[:1] == "/" else _without_authority(request)
        if "?" in path:
            path, _, query = path.partition("?")
            scope["query_string"] = query.encode("latin-1")
        raw_path = path.encode("latin-1")
        if "%" in path or not path.isascii():
            path = unquote_to_bytes(raw_path).decode("utf-8", "replace")
        if self._root_path:
            path = self._root_path + path
            raw_path = self._root_path.encode() + raw_path
        scope["path"] = path
        scope["raw_path"] = raw_path
        scope["method"] = request.method
        if request.version != "HTTP/1.1":
            scope["http_version"] = "1.0"
        fields = request.raw_fields
        scope["headers"] = _unpacked(fields) if request.is_unpacked else fields
        scope["state"] = state.copy()
        scope["asgi"] = scope["asgi"].copy()
        scope["extensions"] = scope["extensions"].copy()
        if self._told_by_proxy:
            scope["scheme"] = request.protocol
            if self._client is None or request.remote_ip != self._client[0]:
                scope["client"] = (request.remote_ip, 0)  # nobody tells the port
        return scope

    @staticmethod
    def change_to_websocket(scope: Scope, subprotocols: list[str]) -> None:
        """Make the scope of a request that of the WebSocket which it asks for."""
        scope["type"] = "websocket"
        scope["scheme"] = "wss" if scope["scheme"] == "https" else "ws"
        scope["subprotocols"] = subprotocols
        scope["extensions"] = {
            "websocket.http.response": {},
            **{name: value for name, value in scope["extensions"].items() if name == "tls"},
        }
        del scope["method"]


def _unpacked(fields: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Leave out what is not true of a body that the server unpacks."""
    return [each for each in fields if each[0] not in (b"content-encoding", b"content-length")]


def _without_authority(request: HTTPRequest) -> str:
    """Return the target in origin-form, if it is in absolute-form (RFC 9112 section 3.2.2)."""
    query = request.query
    return f"{request.path}?{query}" if query else request.path


# --- TLS --------------------------------------------------------------------------------------
# https://asgi.readthedocs.io/en/stable/specs/tls.html

_TLS_VERSIONS = {"TLSv1": 0x0301, "TLSv1.1": 0x0302, "TLSv1.2": 0x0303, "TLSv1.3": 0x0304}

# RFC 4514 section 3: keywords of attribute types; of any other the name is used.
_KEYWORDS = {
    "commonName": "CN",
    "localityName": "L",
    "stateOrProvinceName": "ST",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "countryName": "C",
    "streetAddress": "STREET",
    "domainComponent": "DC",
    "userId": "UID",
}

# RFC 4514 section 2.4: a backslash goes before each of these, wherever or at an end.
_ESCAPED = re.compile(r'["+,;<>\\]|^[# ]| $')


def _describe_tls(ssl_object: Any) -> dict[str, Any]:
    certificate = ssl_object.getpeercert(True)
    name, _, _ = ssl_object.cipher() or (None, None, None)
    suites = {each["name"]: each["id"] & 0xFFFF for each in ssl_object.context.get_ciphers()}
    return {
        "server_cert": None,  # the ssl module does not tell
        "client_cert_chain": [ssl.DER_cert_to_PEM_cert(certificate)] if certificate else [],
        "client_cert_name": _name_of(ssl_object.getpeercert()),
        "client_cert_error": None,
        "tls_version": _TLS_VERSIONS.get(ssl_object.version()),
        "cipher_suite": suites.get(name),
    }


def _name_of(certificate: dict[str, Any] | None) -> str | None:
    """Return the subject of a verified certificate as RFC 4514 writes it, the last part first."""
    if not certificate:
        return None
    return ",".join(
        "+".join(
            f"{_KEYWORDS.get(name, name)}={_ESCAPED.sub(_escape, value)}" for name, value in part
        )
        for part in reversed(certificate["subject"])
    )


def _escape(match: re.Match[str]) -> str:
    return "\\" + match[0]
