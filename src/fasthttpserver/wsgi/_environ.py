"""The environ of a request (PEP 3333, "environ Variables")."""

from __future__ import annotations

import sys
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

import fasthttpserver
from fasthttpserver.httpserver import HTTPRequest
from fasthttpserver.process import task_id

__all__ = ["Environs"]

# Names of fields are chosen by clients: so many of them are remembered, if they are not longer.
_MOST_NAMES = 1000
_LONGEST_NAME = 64


class _Keys(dict[str, str | None]):
    """Names of fields to their keys in environ.

    A name with an underscore has none: its key would be that of the name with hyphens, and a
    client could set what only a proxy may, such as X-Forwarded-For.
    """

    __slots__ = ()

    def __missing__(self, name: str) -> str | None:
        key = None if "_" in name else "HTTP_" + name.upper().replace("-", "_")
        if len(name) <= _LONGEST_NAME and len(self) < _MOST_NAMES:
            self[name] = key
        return key


_keys = _Keys()
_keys["Content-Type"] = "CONTENT_TYPE"
_keys["Content-Length"] = "CONTENT_LENGTH"


class Environs:
    """Makes the environ of each request of a server.

    Args:
        root_path: Where the application is mounted, decoded: SCRIPT_NAME.
        multithread: Whether the application may be called in several threads at a time.
    """

    def __init__(self, root_path: str, multithread: bool) -> None:
        self._root_path = root_path.encode().decode("latin-1")  # as PEP 3333 has strings
        self._multithread = multithread

    def make(self, request: HTTPRequest, body: Any, size: int | None) -> dict[str, Any]:
        """Return the environ of a request.

        Args:
            body: What is read as ``wsgi.input``.
            size: Its bytes, if all of them are here.
        """
        connection: Any = request.connection
        uri = request.uri
        try:
            environ: dict[str, Any] = connection.wsgi_environ.copy()
        except AttributeError:
            connection.wsgi_environ = self._of_connection(request)
            environ = connection.wsgi_environ.copy()
        path, _, query = uri.partition("?")
        if path[:1] != "/":  # an absolute target, rarely
            path = request.path
        if "%" in path:
            path = unquote_to_bytes(path).decode("latin-1")
        if self._root_path:
            path = self._without_root(path)
        environ["REQUEST_METHOD"] = request.method
        environ["PATH_INFO"] = path
        environ["QUERY_STRING"] = query
        environ["REQUEST_URI"] = uri
        environ["SERVER_PROTOCOL"] = request.version
        environ["wsgi.input"] = body
        if connection.xheaders:
            environ["REMOTE_ADDR"] = request.remote_ip
            environ["wsgi.url_scheme"] = request.protocol
        for name, value in request.fields:
            key = _keys[name]
            if key is None:
                continue
            if key in environ:
                # RFC 9110 section 5.3; RFC 6265 section 5.4 for cookies.
                separator = "; " if key == "HTTP_COOKIE" else ","
                value = f"{environ[key]}{separator}{value}"
            environ[key] = value
        if request.is_unpacked:
            # Applications read as much as CONTENT_LENGTH says, and unpack what is packed.
            del environ["HTTP_CONTENT_ENCODING"]
            environ.pop("CONTENT_LENGTH", None)
            if size is not None:
                environ["CONTENT_LENGTH"] = str(size)
        return environ

    def _without_root(self, path: str) -> str:
        # A proxy may have taken it away, or not.
        root = self._root_path
        if path.startswith(root) and path[len(root) :][:1] in ("", "/"):
            return path[len(root) :]
        return path

    def _of_connection(self, request: HTTPRequest) -> dict[str, Any]:
        """Return what is the same for all requests of a connection."""
        connection: Any = request.connection
        name, port = _server_of(connection, request.protocol)
        environ = {
            "SCRIPT_NAME": self._root_path,
            "SERVER_NAME": name,
            "SERVER_PORT": port,
            "SERVER_SOFTWARE": f"fasthttpserver/{fasthttpserver.__version__}",
            "REMOTE_ADDR": request.remote_ip,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": request.protocol,
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": self._multithread,
            "wsgi.multiprocess": task_id() is not None,
            "wsgi.run_once": False,
            "wsgi.file_wrapper": FileWrapper,
            # The end of wsgi.input is that of the body, also without CONTENT_LENGTH.
            "wsgi.input_terminated": True,
        }
        if not connection.xheaders and isinstance(connection.address, tuple):
            environ["REMOTE_PORT"] = str(connection.address[1])
        return environ


def _server_of(connection: Any, scheme: str) -> tuple[str, str]:
    """Return SERVER_NAME and SERVER_PORT, neither of which may be empty."""
    address = connection.get_extra_info("sockname")
    if isinstance(address, tuple):
        return address[0], str(address[1])
    return "localhost", "443" if scheme == "https" else "80"  # of a Unix socket
