"""Certificates of clients that a proxy has checked and passes on (RFC 9440)."""

from __future__ import annotations

import _ssl
import base64
import binascii
import functools
import os
import ssl
import tempfile
from typing import Any

from fasthttpserver._server.request import HTTPRequest, RequestCallback
from fasthttpserver._server.wrapping import WrappingDelegate
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import (
    HTTPHeaders,
    HTTPMessageDelegate,
    HTTPServerConnectionDelegate,
)

__all__ = ["RefusingDelegate", "forwarded_certificate", "refusing"]

_CERTIFICATE = "Client-Cert"
_NAMES = frozenset(("client-cert", "client-cert-chain"))
_MALFORMED = "Malformed Client-Cert"
# So many certificates are remembered, decoded: the clients of a proxy come again and again.
_REMEMBERED = 256


def forwarded_certificate(headers: HTTPHeaders, binary_form: bool) -> Any:
    """Return the certificate in Client-Cert as ``ssl.SSLSocket.getpeercert`` would.

    Args:
        headers: Of a request that a trusted proxy has sent; repeated fields joined with commas.
        binary_form: Return it DER-encoded, as bytes, instead of a dict.

    Raises:
        HTTPInputError: The field is not a Byte Sequence, or has no certificate in it (400).
    """
    value = headers.get(_CERTIFICATE)
    if value is None:
        return None
    certificate = _parse_byte_sequence(value)
    return certificate if binary_form else _decode(certificate).copy()


def _parse_byte_sequence(value: str) -> bytes:
    """Return what is between the colons (RFC 8941 section 3.3.5, without its leniencies)."""
    encoded = value[1:-1]
    try:
        data = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error):
        data = b""
    # What encodes to something else has bits that stand for nothing.
    if not data or value != f":{base64.b64encode(data).decode()}:":
        raise HTTPInputError(_MALFORMED)
    return data


@functools.lru_cache(_REMEMBERED)
def _decode(certificate: bytes) -> dict[str, Any]:
    # OpenSSL's own reading, which makes the dict of getpeercert(). The ssl module has no
    # other way to it than a handshake, and this function wants a file.
    openssl: Any = _ssl
    descriptor, path = tempfile.mkstemp(suffix=".pem")
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(ssl.DER_cert_to_PEM_cert(certificate))
        decoded: dict[str, Any] = openssl._test_decode_cert(path)
    except ssl.SSLError:
        raise HTTPInputError(_MALFORMED) from None
    finally:
        os.unlink(path)
    return decoded


# --- From somebody else ---------------------------------------------------------------------


def _check(request: HTTPRequest) -> None:
    # Not passed on: an application may read the field itself, as one of WSGI has to. Not
    # dropped either: no honest client sends it, so its sender or the configuration is wrong.
    for name in request.headers:
        if name.lower().replace("_", "-") not in _NAMES:
            continue
        if "_" in name:
            # A proxy removes Client-Cert, and lets this pass. Whatever makes variables in the
            # style of CGI of fields, as Django does for ASGI, takes one for the other.
            raise HTTPInputError("Client-Cert with an underscore")
        if not request.connection.is_trusted:
            raise HTTPInputError("Client-Cert from a peer that is not trusted")


def refusing(callback: RequestCallback) -> RequestCallback:
    """Wrap a callback so that it gets Client-Cert from trusted proxies only."""

    @functools.wraps(callback)
    def check(request: HTTPRequest) -> object:
        _check(request)
        return callback(request)

    return check


class RefusingDelegate(WrappingDelegate):
    """Wraps a delegate so that it gets Client-Cert from trusted proxies only.

    Args:
        delegate: The application's.
    """

    def __init__(self, delegate: HTTPServerConnectionDelegate) -> None:
        super().__init__(delegate)
        whole_request = getattr(delegate, "whole_request", None)
        if whole_request is not None:
            self.whole_request = refusing(whole_request)

    def start_request(self, server_conn: object, request_conn: Any) -> HTTPMessageDelegate:
        _check(request_conn.request)
        return super().start_request(server_conn, request_conn)
