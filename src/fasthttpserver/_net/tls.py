"""How Tornado's ``ssl_options`` become an ``ssl.SSLContext``."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Mapping
from typing import Any, NoReturn

from fasthttpserver._net.pem import fault_of_authorities, fault_of_pair

__all__ = [
    "SSLOptions",
    "check_ssl_options",
    "load_files",
    "new_context",
    "ssl_options_to_context",
    "ssl_wrap_socket",
]

SSLOptions = Mapping[str, Any] | ssl.SSLContext

_FILES = frozenset({"certfile", "keyfile"})
_KEYS = _FILES | {"ssl_version", "cert_reqs", "ca_certs", "ciphers", "sni"}

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
        ValueError: A file does not exist, an option is unknown, or clients are asked for
            certificates that nothing can check.
        TypeError: It is neither a mapping nor a context.
    """
    if isinstance(ssl_options, ssl.SSLContext):
        return
    _check_options(ssl_options)
    _check_files(ssl_options, "ssl_options")
    for name, files in (ssl_options.get("sni") or {}).items():
        _check_keys(files, f"sni of {name!r}", _FILES)
        _check_files(files, f"sni of {name!r}")
    if ssl_options.get("cert_reqs") and ssl_options.get("ca_certs") is None:
        raise ValueError("cert_reqs asks clients for certificates, and no ca_certs can check them")


def ssl_options_to_context(ssl_options: SSLOptions, server_side: bool = True) -> ssl.SSLContext:
    """Make a context from options; do this once, not for each connection.

    Args:
        ssl_options: Any of ``certfile``, ``keyfile``, ``ca_certs`` (paths of PEM files),
            ``cert_reqs`` (``ssl.CERT_NONE`` and so on), ``ciphers`` (an OpenSSL list) and
            ``ssl_version`` (a protocol constant of the ssl module). A context is returned
            as it is. What else a server may be given, ``sni``, is not for a single context.
        server_side: Whether it is for a server. A client checks its server's certificate
            unless ``cert_reqs`` says otherwise.

    Raises:
        ValueError: An option is unknown, the protocol version is not to be had, or the key
            is encrypted.
        TypeError: It is neither a mapping nor a context.
        OSError: A file cannot be read; an ``ssl.SSLError`` if OpenSSL refuses what is in it.
            Both name the file, and the latter what is wrong with it.
    """
    if isinstance(ssl_options, ssl.SSLContext):
        return ssl_options
    _check_options(ssl_options)
    if ssl_options.get("sni"):
        raise ValueError("sni needs more than one context")
    context = new_context(ssl_options, server_side)
    load_files(context, ssl_options)
    if ssl_options.get("ca_certs") is None and not server_side:
        context.load_default_certs()
    return context


def new_context(ssl_options: Mapping[str, Any], server_side: bool = True) -> ssl.SSLContext:
    """Make a context as options want it, but for what is in files.

    Raises:
        ValueError: The protocol version is not to be had.
        ssl.SSLError: OpenSSL does not know the ciphers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    context.options |= ssl.OP_NO_COMPRESSION  # its size tells secrets: the CRIME attack
    context.minimum_version = ssl.TLSVersion.TLSv1_2  # RFC 8996
    version = ssl_options.get("ssl_version")
    if version is not None and version not in _ANY_VERSION:
        if version not in _ONE_VERSION:
            raise ValueError(f"ssl_version {version!r} is not supported")
        context.minimum_version = context.maximum_version = _ONE_VERSION[version]
    cert_reqs = ssl_options.get("cert_reqs")
    if cert_reqs is not None:
        if cert_reqs == ssl.CERT_NONE:
            context.check_hostname = False
        context.verify_mode = cert_reqs
    if ssl_options.get("ciphers") is not None:
        context.set_ciphers(ssl_options["ciphers"])
    return context


def load_files(context: ssl.SSLContext, ssl_options: Mapping[str, Any]) -> None:
    """Read the files that options name into a context.

    Raises:
        ValueError: The key is encrypted.
        OSError: A file cannot be read; ``ssl.SSLError`` if OpenSSL refuses what is in it.
    """
    certfile, keyfile = ssl_options.get("certfile"), ssl_options.get("keyfile")
    ca_certs = ssl_options.get("ca_certs")
    for path in certfile, keyfile, ca_certs:
        if path is not None:
            open(path, "rb").close()  # whose error names the file

    def refuse() -> NoReturn:  # OpenSSL would ask whoever sits at the terminal
        path = str(keyfile or certfile)
        raise ValueError(
            f"key {path!r} is encrypted, and nobody is asked for a password; "
            "`openssl pkey -in ENCRYPTED -out DECRYPTED` decrypts it"
        )

    if certfile is not None:
        try:
            context.load_cert_chain(certfile, keyfile, refuse)
        except ssl.SSLError as error:
            raise fault_of_pair(error, certfile, keyfile) from error
    if ca_certs is not None:
        try:
            context.load_verify_locations(ca_certs)
        except ssl.SSLError as error:
            raise fault_of_authorities(error, ca_certs) from error


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


def _check_options(ssl_options: object) -> None:
    if not isinstance(ssl_options, Mapping):
        raise TypeError(f"ssl_options must be a dict or an SSLContext, got {ssl_options!r}")
    _check_keys(ssl_options, "ssl_options", _KEYS)


def _check_keys(options: object, what: str, known: frozenset[str]) -> None:
    if not isinstance(options, Mapping):
        raise TypeError(f"{what} must be a dict, got {options!r}")
    unknown = sorted(map(str, set(options) - known))
    if unknown:
        raise ValueError(f"unknown keys in {what}: {', '.join(unknown)}")


def _check_files(options: Mapping[str, Any], what: str) -> None:
    if options.get("certfile") is None:
        raise KeyError(f'missing key "certfile" in {what}')
    for key in ("certfile", "keyfile", "ca_certs"):
        path = options.get(key)
        if path is not None and not os.path.exists(path):
            raise ValueError(f"{key} {path!r} does not exist")
