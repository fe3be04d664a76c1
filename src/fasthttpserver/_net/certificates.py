"""The certificates of a server, which may change while it serves."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

from fasthttpserver._net.tls import load_files, new_context
from fasthttpserver.log import gen_log

__all__ = ["Certificates"]

# Seconds for which files are taken to be as they were.
_LOOK_INTERVAL = 5.0


class Certificates:
    """TLS contexts made of files: one with each certificate, and one that begins each handshake.

    That one has no certificate. When the client has said what name it asks for, it gives way to
    the one for that name. So the certificates can be read anew while the first one stays, and
    with it the keys of session tickets: these are made with a context and are those of all
    processes that are forked later.

    Args:
        ssl_options: What ``check_ssl_options`` has accepted. No file is read yet.
        protocols: Offered to clients that ask (ALPN, RFC 7301). One that knows none of them is
            served all the same, as one that does not ask; the ssl module does not refuse it.

    Attributes:
        context: For handshakes.

    Raises:
        ValueError: The protocol version is not to be had, or a name is none.
        ssl.SSLError: OpenSSL does not know the ciphers.
    """

    def __init__(self, ssl_options: Mapping[str, Any], protocols: Sequence[str] = ()) -> None:
        self._options = {key: ssl_options[key] for key in ssl_options if key != "sni"}
        self._protocols = protocols
        # Of each name that has its own certificate, what is different from the options.
        self._files: dict[str, dict[str, Any]] = {
            _to_ascii(name): {"keyfile": None, **files}
            for name, files in (ssl_options.get("sni") or {}).items()
        }
        self.context = self._begin()
        self._default: ssl.SSLContext | None = None
        self._by_name: dict[str, ssl.SSLContext] = {}
        self._seen: list[object] = []  # of the files, when they were read last
        self._authorities: object = None  # the same of ca_certs, when that went well
        self._next_look = 0.0

    def load(self) -> None:
        """Read all files; if that fails, what was read before stays.

        Raises:
            OSError: A file cannot be read; ``ssl.SSLError`` if OpenSSL refuses what is in it.
            ValueError: A key is encrypted.
        """
        self._seen = self._look_at_files()
        authorities = self._seen[-1]
        default = self._read({})
        by_name = {name: self._read(files) for name, files in self._files.items()}
        if self._default is not None and authorities != self._authorities:
            # Sessions of clients that others have vouched for are not to be resumed.
            self.context = self._begin()
        self._default, self._by_name, self._authorities = default, by_name, authorities

    def reload(self) -> bool:
        """Read all files anew, and log how that went; return whether it went well."""
        try:
            self.load()
        except (OSError, ValueError) as error:
            gen_log.error("Certificates are not read anew, the old ones stay: %s", error)
            return False
        gen_log.info("Certificates are read anew: %s", self._options["certfile"])
        return True

    def keep_up(self, now: float) -> None:
        """Read the files anew if they have changed; looks at them once in some seconds.

        Args:
            now: The time of the loop.
        """
        if now >= self._next_look:
            self._next_look = now + _LOOK_INTERVAL
            if self._look_at_files() != self._seen:
                self.reload()

    def _begin(self) -> ssl.SSLContext:
        context = new_context(self._options)
        context.sni_callback = self._choose
        return context

    def _read(self, files: Mapping[str, Any]) -> ssl.SSLContext:
        options = {**self._options, **files}
        context = new_context(options)
        if self._protocols:
            context.set_alpn_protocols(self._protocols)
        load_files(context, options)
        return context

    def _choose(self, tls: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        found = None
        if name and self._by_name:  # it is None if the client sends none
            name = name.lower()
            found = self._by_name.get(name) or self._by_name.get(f"*.{name.partition('.')[2]}")
        found = found or self._default
        assert found is not None, "load() comes first"
        tls.context = found

    def _look_at_files(self) -> list[object]:
        """Return what changes when a file is another one, or its contents are; ca_certs last."""
        sources = [*self._files.values(), self._options]
        paths = [each.get(key) for each in sources for key in ("certfile", "keyfile")]
        return [_stamp(path) for path in (*paths, self._options.get("ca_certs"))]


def _stamp(path: str | None) -> object:
    if path is None:
        return None
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size


def _to_ascii(name: str) -> str:
    """Return a host's name as clients send it (RFC 6066 section 3)."""
    star = "*." if name.startswith("*.") else ""
    return star + name[len(star) :].encode("idna").decode().lower()
