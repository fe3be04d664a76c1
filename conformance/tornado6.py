"""Tornado 6.6.1's own tests, for ``fasthttpserver.tornado``, on asyncio and uvloop."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import suite
from suite import Difference, Suite

__all__ = ["run"]

# All, but a few that are skipped; and that nothing stray is logged or written.
_MODULES = {
    "httpserver_test": 80,
    "web_test": 274,
    "websocket_test": 72,
    "wsgi_test": 8,
    "routing_test": 8,
    "simple_httpclient_test": 140,
    "httpclient_test": 66,
    "security_corpus_test": 5,
}

_STRICT = "T1: wants lines that end with LF alone; we want CRLF"

# The letter and number are those of the difference in docs/migrating.md.
_DIFFERENCES: dict[str, dict[str, Difference]] = {
    "httpserver_test": {
        "HTTPConnectionTest.test_newlines": Difference("Expected CRLF", _STRICT),
        "HTTPServerRawTest.test_chunked_request_body_duplicate_header": Difference(
            "Expected CRLF", _STRICT
        ),
        "HTTPServerRawTest.test_chunked_request_body_unsupported_transfer_encoding": Difference(
            "Expected CRLF", _STRICT
        ),
        (
            "HTTPServerRawTest.test_chunked_request_body_transfer_encoding_and_content_length"
        ): Difference("Expected CRLF", _STRICT),
        "KeepAliveTest.test_keepalive_chunked": Difference(
            "Transfer-Encoding in HTTP/1.0",
            "T2: wants a chunked body of HTTP/1.0 decoded; we refuse it",
        ),
        "BodyLimitsTest.test_timeout": Difference(
            "408 Request Timeout",
            "T3: wants a body that comes too late to end without an answer; we answer 408",
        ),
        "InvalidOutputContentLengthTest.test_invalid_output_content_length": Difference(
            "HTTPClientError not raised",
            "T4: wants a delegate that fails to leave its client without an answer; we answer 500",
        ),
    },
    "web_test": {
        "StaticDefaultFilenameRootTest.test_no_open_redirect_backslash": Difference(
            "Invalid request target",
            "T5: wants a backslash in a path to reach the application, which answers 403;"
            " we answer 400",
        ),
    },
    "simple_httpclient_test": {
        "ChunkedWithContentLengthTest.test_chunked_with_content_length": Difference(
            "HTTPStreamClosedError not raised",
            "T6: wants Transfer-Encoding beside Content-Length in a response, for its client to"
            " refuse it; we leave it out",
        ),
    },
    "security_corpus_test": {
        "SecurityCorpusTest.test_cases": Difference(
            "[6.6.0: static open redirect, backslash]",
            "T5: wants 403 for a backslash in a path; we answer 400",
        ),
    },
}


def run(environment: dict[str, str], logs: Path) -> int:
    """Run them on each kind of loop; see ``suite.run``."""
    complaints = 0
    for loop in "asyncio", "uvloop":
        if importlib.util.find_spec(loop) is None:
            print(f"tornado6: {loop} is not installed, so its tests are not run on it")
            continue
        tests = Suite(
            f"Tornado 6.6.1 on {loop}",
            Path(__file__).parent / "tornado6_child.py",
            _MODULES,
            _DIFFERENCES,
            (loop,),
        )
        complaints += suite.run(tests, environment, logs)
    return complaints
