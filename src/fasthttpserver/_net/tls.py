"""How Tornado's ``ssl_options`` become an ``ssl.SSLContext``."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any

__all__ = ["SSLOptions", "check_ssl_options", "ssl_options_to_context", "ssl_wrap_socket"]

SSLOptions = Mapping[str, Any] | ssl.SSLContext

_KEYS = frozenset({"ssl_version", "certfile", "keyfile", "cert_reqs", "ca_certs", "ciphers"})

# The constants that stand for "what both sides know"; the others name one version.
_ANY_VERSION = {ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER}
_ONE_VERSION = {
    getattr(ssl, f"PROTOCOL_{name}"): getattr(ssl.TLSVersion, name)
    for name in ("SSLv3", "TLSv1", "TLSv1_1", "TLSv1_2")
    if hasattr(ssl, f"PROTOCOL_{name}")
}


def check_ssl_options(ssl_options: SSLOptions) -> None:
    """Refuse options of a server that cannot work; what the files contain is not looked at.

    Args:
        ssl_options: A context is accepted as it is.

    Raises:
        KeyError: There is no ``certfile``.
        ValueError: The certfile or keyfile does not exist, or an option is unknown.
        TypeError: It is neither a mapping nor a context.
    """
    if isinstance(ssl_options, ssl.SSLContext):
        return
    _check_keys(ssl_options)
    if ssl_options.get("certfile") is None:
        raise KeyError('missing key "certfile" in ssl_options')
    for key in ("certfile", "keyfile"):
        path = ssl_options.get(key)
        if path is not None and not os.path.exists(path):
            raise ValueError(f"{key} {path!r} does not exist")


def ssl_options_to_context(ssl_options: SSLOptions, server_side: bool = True) -> ssl.SSLContext:
    """Make a context from options; do this once, not for each connection.

    Args:
        ssl_options: Any of ``certfile``, ``keyfile``, ``ca_certs`` (paths of PEM files),
            ``cert_reqs`` (``ssl.CERT_NONE`` and so on), ``ciphers`` (an OpenSSL list) and
            ``ssl_version`` (a protocol constant of the ssl module). A context is returned
            as it is.
        server_side: Whether it is for a server. A client checks its server's certificate
            unless ``cert_reqs`` says otherwise.

    Raises:
        ValueError: An option is unknown, or the protocol version is not to be had.
        TypeError: It is neither a mapping nor a context.
        OSError: A file cannot be read; ``ssl.SSLError`` if OpenSSL refuses what is in it.
    """
    if isinstance(ssl_options, ssl.SSLContext):
        return ssl_options
    _check_keys(ssl_options)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION  # its size tells secrets: the CRIME attack
    version = ssl_options.get("ssl_version")
    if version is not None and version not in _ANY_VERSION:
        if version not in _ONE_VERSION:
            raise ValueError(f"ssl_version {version!r} is not supported")
        context.minimum_version = context.maximum_version = _ONE_VERSION[version]
    if ssl_options.get("certfile") is not None:
        context.load_cert_chain(ssl_options["certfile"], ssl_options.get("keyfile"))
    if ssl_options.get("ca_certs") is not None:
        context.load_verify_locations(ssl_options["ca_certs"])
    elif not server_side:
        context.load_default_certs()
    cert_reqs = ssl_options.get("cert_reqs")
    if cert_reqs is not None:
        if cert_reqs == ssl.CERT_NONE:
            context.check_hostname = False
        context.verify_mode = cert_reqs
    if ssl_options.get("ciphers") is not None:
        context.set_ciphers(ssl_options["ciphers"])
    return context


def ssl_wrap_socket(
    sock: socket.socket,
    ssl_options: SSLOptions,
    server_hostname: str | None = None,
    *,
    server_side: bool = False,
    **kwargs: Any,
) -> ssl.SSLSocket:
    """Wrap a connected socket, as ``ssl.wrap_socket`` did until Python 3.12.

    Args:
        sock: The socket; its file descriptor moves to the one that is returned.
        ssl_options: As for ``ssl_options_to_context``.
        server_hostname: Whom a client wants to speak to.
        server_side: Which side of the handshake this is.
        kwargs: Further arguments of ``ssl.SSLContext.wrap_socket``.
    """
    context = ssl_options_to_context(ssl_options, server_side)
    return context.wrap_socket(
        sock, server_side=server_side, server_hostname=server_hostname, **kwargs
    )


def _check_keys(ssl_options: object) -> None:
    if not isinstance(ssl_options, Mapping):
        raise TypeError(f"ssl_options must be a dict or an SSLContext, got {ssl_options!r}")
    unknown = sorted(map(str, set(ssl_options) - _KEYS))
    if unknown:
        raise ValueError(f"unknown keys in ssl_options: {', '.join(unknown)}")
