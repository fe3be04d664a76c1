"""What was asked and answered, as lines of a log and as counters."""

from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest
from helpers import OK, Logs, answer, get, post
from wire import Wire

from fasthttpserver import HTTPHeaders, HTTPRequest, HTTPServer

Lines = Callable[[], list[str]]


@pytest.fixture
def lines(logs: Logs) -> Lines:
    return lambda: [
        record.getMessage() for record in logs.records if record.name == "fasthttpserver.access"
    ]


def test_common_line_says_who_asked_what_and_what_was_answered(
    wire: Callable[..., Wire], lines: Lines
) -> None:
    end = wire(answer, access_log="common")
    end.send(get("/a?b=c"))
    (line,) = lines()
    assert re.fullmatch(
        r"192\.0\.2\.7 - - \[\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\] "
        rf'"GET /a\?b=c HTTP/1\.1" 200 {len(OK)} \d+\.\d{{6}}',
        line,
    )
    assert end.sent() == OK


def test_json_line_is_json(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log="json")
    end.send(post(b"body", 'User-Agent: a "b" \\', uri="/x"))
    (line,) = lines()
    said = json.loads(line)
    assert (said["method"], said["uri"], said["status"]) == ("POST", "/x", 200)
    assert said["user_agent"] == 'a "b" \\'
    assert said["size"] == len(OK)


def test_own_format(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log=lambda access, ip: f"{ip} {access.request.path}")
    end.send(get("/a?b"))
    assert lines() == ["192.0.2.7 /a"]


@pytest.mark.parametrize("told", [False, True])
@pytest.mark.parametrize("leave", ["reset", "half_close"])
def test_client_that_does_not_wait_for_its_answer_is_a_499(
    wire: Callable[..., Wire], lines: Lines, leave: str, told: bool
) -> None:
    def callback(request: HTTPRequest) -> None:
        if told:
            request.connection.set_close_callback(lambda: None)

    end = wire(callback, access_log="common", idle_connection_timeout=10)
    end.send(get("/poll"))
    getattr(end, leave)()
    end.pass_time(12)
    (line,) = lines()
    assert '"GET /poll HTTP/1.1" 499 0 ' in line


def test_pipelined_requests_have_a_line_each(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log="common")
    end.send(get("/1") + get("/2") + get("/3"))
    assert [line.split('"')[1].split()[1] for line in lines()] == ["/1", "/2", "/3"]
    assert end.sent() == OK * 3


def test_what_a_client_sends_does_not_end_the_line_or_the_quotes(
    wire: Callable[..., Wire], lines: Lines
) -> None:
    end = wire(answer, access_log="common")
    end.send(b'GET /?"\\%0a HTTP/1.1\r\nHost: a\r\n\r\n')
    (line,) = lines()
    assert '"GET /?\\"\\\\%0a HTTP/1.1"' in line
    assert line.isprintable()


def test_refused_request_has_a_line_without_one(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log="common")
    end.send(b"GET / HTTP/1.1\r\n\r\n")
    (line,) = lines()
    assert f'"-" 400 {len(end.sent())} ' in line


def test_failing_callback_has_status_500(
    wire: Callable[..., Wire], lines: Lines, logs: Logs
) -> None:
    def fail(request: HTTPRequest) -> None:
        raise ZeroDivisionError

    end = wire(fail, access_log="common")
    end.send(get())
    (line,) = lines()
    assert '" 500 ' in line
    assert len(logs.errors()) == 1


def test_framed_response_and_its_size(wire: Callable[..., Wire], lines: Lines) -> None:
    def callback(request: HTTPRequest) -> None:
        connection = request.connection
        connection.write_headers(("", 103, "Early Hints"), HTTPHeaders())
        connection.write_headers(("", 404, "Not Found"), HTTPHeaders(), b"none")
        connection.finish()

    end = wire(callback, access_log="common")
    end.send(get())
    (line,) = lines()
    assert f'" 404 {len(end.sent())} ' in line


def test_client_that_leaves_has_a_line_with_what_was_written(
    wire: Callable[..., Wire], lines: Lines
) -> None:
    def begin(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n")

    end = wire(begin, access_log="common")
    end.send(get())
    assert lines() == []
    end.reset()
    (line,) = lines()
    assert '" 200 39 ' in line


def test_unknown_form_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="access_log must be one of"):
        HTTPServer(answer, access_log="apache")
