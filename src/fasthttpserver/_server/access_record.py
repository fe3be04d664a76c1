"""What the access log knows of one exchange."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fasthttpserver._server.request import HTTPRequest

__all__ = ["AccessRecord", "basic_user", "response_field"]

_INTERIM = re.compile(rb"HTTP/1\.[01] 1(?!01)[0-9]{2}")


class AccessRecord:
    """One exchange that is over.

    Nothing in it is escaped: what a client has sent is as it came.

    Args:
        request: What was asked; None if it was refused before it was a request.
        remote_ip: The client's address, as ``request.remote_ip``.
        status: Of the response; 499 if the client left before there was one, None if there was
            none for another reason.
        size: Bytes of its body, without its head and the framing of chunks.
        started: When the head of the request was complete, in seconds since the epoch.
        duration: Seconds from then to the end of the response.
        response: From its first byte, with all of its head at least.
    """

    __slots__ = ("_response", "duration", "remote_ip", "request", "size", "started", "status")

    def __init__(
        self,
        request: HTTPRequest | None,
        remote_ip: str,
        status: int | None,
        size: int,
        started: float,
        duration: float,
        response: bytes = b"",
    ) -> None:
        self.request = request
        self.remote_ip = remote_ip
        self.status = status
        self.size = size
        self.started = started
        self.duration = duration
        self._response = response

    @property
    def request_line(self) -> str | None:
        """Method, target and version, with a space between."""
        request = self.request
        return None if request is None else f"{request.method} {request.uri} {request.version}"

    @property
    def method(self) -> str | None:
        """The method of the request."""
        return None if self.request is None else self.request.method

    @property
    def uri(self) -> str | None:
        """The target of the request."""
        return None if self.request is None else self.request.uri

    @property
    def path(self) -> str | None:
        """The path of the target, not decoded."""
        return None if self.request is None else self.request.path

    @property
    def query(self) -> str | None:
        """What follows the first ``?`` of the target."""
        return None if self.request is None else self.request.query

    @property
    def version(self) -> str | None:
        """``HTTP/1.0`` or ``HTTP/1.1``."""
        return None if self.request is None else self.request.version

    @property
    def host(self) -> str | None:
        """The requested host with its port, if any: the target's authority, else Host."""
        return None if self.request is None else self.request.authority or None

    @property
    def referer(self) -> str | None:
        """The Referer of the request."""
        return self.header("referer")

    @property
    def user_agent(self) -> str | None:
        """The User-Agent of the request."""
        return self.header("user-agent")

    @property
    def request_id(self) -> str | None:
        """The id of the request, see ``HTTPRequest.request_id``."""
        return None if self.request is None else self.request.request_id

    @property
    def user(self) -> str | None:
        """The name in Basic credentials (RFC 7617); the password is nowhere."""
        return None if self.request is None else basic_user(self.request)

    def header(self, name: str) -> str | None:
        """Return a field of the request, joined with commas if it is there more than once."""
        return None if self.request is None else self.request.find_field(name)

    def response_header(self, name: str) -> str | None:
        """Return a field of the response; of several with one name the first."""
        return response_field(self._response, name)

    def as_dict(self) -> dict[str, Any]:
        """Return what a log of records has: names and values, as JSON can express them."""
        return {
            "remote_ip": self.remote_ip,
            "method": self.method,
            "uri": self.uri,
            "version": self.version,
            "host": self.host,
            "status": self.status,
            "size": self.size,
            "started": self.started,
            "duration": self.duration,
            "referer": self.referer,
            "user_agent": self.user_agent,
            "request_id": self.request_id,
        }


def basic_user(request: HTTPRequest) -> str | None:
    """Return the name in the Basic credentials of a request, if it has any."""
    authorization = request.find_field("authorization")
    if authorization is None:
        return None
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = binascii.a2b_base64(credentials.strip(), strict_mode=True)
        name, colon, _ = decoded.decode().partition(":")
    except ValueError:
        return None
    return name if colon else None  # without one it may be anything, a password too


def response_field(response: bytes, name: str) -> str | None:
    """Return the value of a field in the head of a response; of several the first."""
    while _INTERIM.match(response):
        response = response.partition(b"\r\n\r\n")[2]
    wanted = name.lower().encode("latin-1", "replace")
    for line in response.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        field, _, value = line.partition(b":")
        if field.lower() == wanted:
            return value.strip(b" \t").decode("latin-1")
    return None
