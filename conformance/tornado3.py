"""Tornado 3.2.2's own tests, for the callback API."""

from __future__ import annotations

from pathlib import Path

import suite
from suite import Difference, Suite

__all__ = ["run"]

# All but those of the cookie jar's order (test_clear_all_cookies, twice), a skipped one, and one
# that needs IPv6.
_MODULES = {
    "httpserver_test": 39,
    "web_test": 116,
    "wsgi_test": 92,
    "simple_httpclient_test": 61,
    "websocket_test": 9,
}

# The number is that of the difference in docs/migrating.md.
_DIFFERENCES: dict[str, dict[str, Difference]] = {
    "httpserver_test": {
        "HTTPServerRawTest.test_malformed_first_line": Difference(
            "did not get expected log message",
            "48: wants 'Malformed HTTP request line' in the log; we log what is wrong with it",
        ),
        "HTTPServerRawTest.test_malformed_headers": Difference(
            "did not get expected log message",
            "48: wants 'Malformed HTTP headers' in the log; we log what is wrong with them",
        ),
        "UnixSocketTest.test_unix_socket_bad_request": Difference(
            "b'HTTP/1.1 400 Bad Request",
            "9: wants no answer to a malformed request; we answer 400",
        ),
    },
    "web_test": {
        "CookieTest.test_cookie_special_char": Difference(
            """b'"a' != b'a;b'""",
            "21: wants a quoted semicolon in a cookie; browsers end the value there",
        ),
    },
}

_SUITE = Suite("Tornado 3.2.2", Path(__file__).parent / "suite_child.py", _MODULES, _DIFFERENCES)


def run(environment: dict[str, str], logs: Path) -> int:
    """Run them; see ``suite.run``."""
    return suite.run(_SUITE, environment, logs)
