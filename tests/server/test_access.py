"""What was asked and answered, as lines of a log and as counters."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import re
import subprocess
import sys
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from helpers import OK, Logs, answer, get, post, split
from hypothesis import given
from hypothesis import strategies as st
from wire import Wire

from fasthttpserver import HTTPHeaders, HTTPRequest, HTTPServer, log
from fasthttpserver._parser import log_line
from fasthttpserver.access import AccessLog, AccessRecord
from fasthttpserver.httputil import ResponseStartLine

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
        r'"GET /a\?b=c HTTP/1\.1" 200 2 \d+\.\d{6}',
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
    assert said["size"] == len(b"ok")


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
    assert '"GET /poll HTTP/1.1" 499 - ' in line


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
    body = end.sent().partition(b"\r\n\r\n")[2]
    assert f'"-" 400 {len(body)} ' in line


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1.0, 1e300])
def test_start_that_is_no_time_is_refused_and_loses_no_line(
    wire: Callable[..., Wire], lines: Lines, value: float
) -> None:
    def callback(request: HTTPRequest) -> None:
        with pytest.raises(ValueError, match=r"^start_time must be"):
            request.start_time = value
        answer(request)

    end = wire(callback, access_log="common")
    end.send(get())
    (line,) = lines()
    assert '" 200 2 0.0' in line
    assert end.server.stats()["seconds"] < 1


def test_start_may_be_moved(wire: Callable[..., Wire], lines: Lines) -> None:
    def callback(request: HTTPRequest) -> None:
        request.start_time -= 3600
        answer(request)

    end = wire(callback, access_log="common")
    end.send(get())
    assert '" 200 2 3600.0' in lines()[0]


def test_framed_response_and_its_size(wire: Callable[..., Wire], lines: Lines) -> None:
    def callback(request: HTTPRequest) -> None:
        connection = request.connection
        connection.write_headers(("", 103, "Early Hints"), HTTPHeaders())
        connection.write_headers(("", 404, "Not Found"), HTTPHeaders(), b"none")
        connection.finish()

    end = wire(callback, access_log="common")
    end.send(get())
    (line,) = lines()
    assert '" 404 4 ' in line


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
    assert '" 200 - ' in line


def test_unknown_form_is_told_at_once() -> None:
    with pytest.raises(ValueError, match="access_log must be one of"):
        HTTPServer(answer, access_log="apache")
    with pytest.raises(TypeError, match="access_log must be"):
        HTTPServer(answer, access_log=["common"])  # type: ignore[arg-type]


# --- Formats ------------------------------------------------------------------------------------


def basic(credentials: bytes) -> str:
    return f"Authorization: Basic {b64encode(credentials).decode()}"


ATOMS = [
    ("%(h)s", r"192\.0\.2\.7"),
    ("%(l)s", "-"),
    ("%(u)s", "ann"),
    ("%(t)s", r"\[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4}\]"),
    ("%(r)s", r"GET /a/b\?c=d HTTP/1\.1"),
    ("%(m)s", "GET"),
    ("%(U)s", "/a/b"),
    ("%(q)s", "c=d"),
    ("%(H)s", r"HTTP/1\.1"),
    ("%(s)s", "200"),
    ("%(B)s", "2"),
    ("%(b)s", "2"),
    ("%(f)s", "https://from/"),
    ("%(a)s", "agent 1"),
    ("%(T)s", "0"),
    ("%(M)s", r"\d+"),
    ("%(D)s", r"\d+"),
    ("%(L)s", r"\d\.\d{6}"),
    ("%(p)s", "<PID>"),
    ("%(request_id)s", "[0-9a-f]{24}"),
    ("%({x-field}i)s", "1,2"),
    ("%({X-FIELD}i)s", "1,2"),
    ("%({x-none}i)s", "-"),
    ("%({content-length}o)s", "2"),
    ("%({x-none}o)s", "-"),
    ("%({SOME_VARIABLE}e)s", "some %s"),
    ("%({NO_SUCH_VARIABLE}e)s", "-"),
    ("%% \u20ac %(s)s%(s)s.", "% \u20ac 200200."),
]


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("form, expected", ATOMS)
def test_atom(
    wire: Callable[..., Wire],
    lines: Lines,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    expected: str,
    slow: bool,
) -> None:
    monkeypatch.setenv("SOME_VARIABLE", "some %s")

    def callback(request: HTTPRequest) -> None:
        if slow:
            request.connection.leave_fast_path()
        answer(request)

    end = wire(callback, access_log=form)
    fields = ["Referer: https://from/", "User-Agent:  agent 1 ", "X-Field: 1", "x-field: 2"]
    end.send(get("/a/b?c=d", *fields, basic(b"ann:secret")))
    (line,) = lines()
    assert re.fullmatch(expected.replace("PID", str(os.getpid())), line)


@pytest.mark.parametrize("form, _", ATOMS)
def test_atom_of_what_was_no_request(
    wire: Callable[..., Wire], lines: Lines, logs: Logs, form: str, _: str
) -> None:
    end = wire(answer, access_log=form)
    end.send(b"@")
    (line,) = lines()
    assert line
    if form[2] in "urmUqHfa" or form.endswith(("i)s", "o)s")):
        assert line == "-"
    logs.refusals()


@pytest.mark.parametrize("form", ["%(x)s", "%(h)d", "%s", "%(h)", "100%(h)s %", "%({x}x)s %(h)s"])
def test_unknown_atom_is_refused_with_those_that_are_known(form: str) -> None:
    with pytest.raises(ValueError, match=r"known are %\(h\)s .*%\({header}i\)s") as raised:
        HTTPServer(answer, access_log=f"%(s)s {form}")
    assert "access log" in str(raised.value)


def test_combined_line_is_what_programs_that_read_logs_expect(
    wire: Callable[..., Wire], lines: Lines
) -> None:
    end = wire(answer, access_log="combined")
    end.send(get("/", "Referer: https://from/", "User-Agent: agent"))
    (line,) = lines()
    assert line.endswith('] "GET / HTTP/1.1" 200 2 "https://from/" "agent"')


@pytest.mark.parametrize(
    "credentials, user",
    [
        (basic(b"ann:a:b"), "ann"),
        (basic(b":b"), "-"),
        (basic(b"a [1/Jan/1970:00:00:00 +0000] b:x"), "a%20[1/Jan/1970"),
        (basic("Zo\u00eb:x".encode()), "Zo\\xeb"),
        (basic(b'a"b\n:x'), 'a\\"b\\x0a'),
        (basic(b"ann"), "-"),
        (basic(b"\xff:x"), "-"),
        ("Authorization: Basic ?", "-"),
        ("Authorization: Bearer YTpi", "-"),
        ("Authorization: basic  YTpi", "a"),
        ("X: 1", "-"),
    ],
)
def test_user_is_that_of_basic_credentials_without_the_password(
    wire: Callable[..., Wire], lines: Lines, credentials: str, user: str
) -> None:
    end = wire(answer, access_log="<%(u)s>")
    end.send(get("/", credentials))
    assert lines() == [f"<{user}>"]


@pytest.mark.parametrize("form", ["common", "combined", "json", '"%({x}i)s" "%(q)s"'])
def test_no_byte_of_a_client_ends_the_line_or_the_quotes(
    wire: Callable[..., Wire], lines: Lines, form: str
) -> None:
    end = wire(answer, access_log=form)
    nasty = bytes(each for each in range(9, 256) if each in (9, 34, 92) or each >= 127)
    for byte in nasty:
        value = bytes([byte])
        end.send(
            b"GET /?%b HTTP/1.1\r\nHost: a\r\nReferer: a%bb\r\nUser-Agent: a%bb\r\nX: a%bb\r\n\r\n"
            % (value if byte not in (9, 127) else b"", value, value, value)
        )
    assert lines()
    for line in lines():
        assert line.isascii()
        assert line.isprintable()
        if form == "json":
            json.loads(line)
        else:
            assert len(re.findall(r'(?<!\\)(?:\\\\)*"', line)) == form_quotes(form)


def form_quotes(form: str) -> int:
    return {"common": 2, "combined": 6}.get(form, 4)


@given(st.text(), st.booleans())
def test_any_text_is_escaped(text: str, as_json: bool) -> None:
    line = log_line((b"", b"h", b""), as_json, None, text, None, 0, 0.0, b"", b"").decode()
    assert line.isascii()
    assert line.isprintable()
    if as_json:
        assert json.loads(line) == text
    else:
        assert '"' not in line.replace("\\\\", "").replace('\\"', "")


@given(st.floats(0, 1e9), st.integers(0, 1 << 63))
def test_numbers(duration: float, size: int) -> None:
    parts = (b"", b"L", b" ", b"T", b" ", b"M", b" ", b"D", b" ", b"B", b" ", b"b", b"")
    line = log_line(parts, False, None, "", None, size, duration, b"", b"").decode()
    text, *numbers = line.split(" ")
    assert abs(float(text) - duration) <= 1e-6 + duration * 1e-15
    assert re.fullmatch(r"\d+\.\d{6}", text)
    times = [int(duration), int(duration * 1e3), int(duration * 1e6), size]
    assert numbers == [*map(str, times), str(size or "-")]


def test_json_has_what_the_record_has(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log="json")
    end.send(get("/x"))
    end.send(b"@")
    good, refused = map(json.loads, lines())
    assert list(good) == list(refused)
    assert list(good) == [
        "time",
        *(
            name
            for name in AccessRecord(None, "", None, 0, 0.0, 0.0).as_dict()
            if name != "started"
        ),
    ]
    when = datetime.fromisoformat(good["time"])
    assert when.tzinfo is not None
    assert abs(when.timestamp() - time.time()) < 60
    assert good["referer"] is good["user_agent"] is refused["uri"] is refused["request_id"] is None
    assert (good["host"], good["version"], refused["status"]) == ("a", "HTTP/1.1", 400)


# --- What is counted ----------------------------------------------------------------------------

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
)
BODIES = {
    "length": (OK, 200, 2),
    "chunks": (CHUNKED, 200, 5),
    "none": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, 0),
    "until close": (b"HTTP/1.1 201 Created\r\nConnection: close\r\n\r\nabcdef", 201, 6),
    "after an interim one": (b"HTTP/1.1 103 Early Hints\r\nX: 2\r\n\r\n" + OK, 200, 2),
}


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("response, status, size", BODIES.values(), ids=BODIES)
def test_size_is_that_of_the_body_without_its_framing(
    wire: Callable[..., Wire], response: bytes, status: int, size: int, cut: bool, checked: bool
) -> None:
    records: list[AccessRecord] = []

    def callback(request: HTTPRequest) -> None:
        for piece in split(response, range(1, len(response), 7)) if cut else [response]:
            request.write(piece, (lambda: None) if cut else None)
        request.finish()

    end = wire(
        callback,
        access_log=lambda record, ip: records.append(record) or "",
        check_responses=checked,
    )
    end.send(get())
    assert end.sent() == response
    (record,) = records
    assert (record.status, record.size) == (status, size)
    assert record.response_header("content-length") == ("2" if response.endswith(OK) else None)


@pytest.mark.parametrize("late", [False, True])
def test_whole_response_that_the_server_frames(wire: Callable[..., Wire], late: bool) -> None:
    records: list[AccessRecord] = []

    def respond(request: HTTPRequest) -> None:
        headers = [("X-A", "1")]
        request.connection.respond(ResponseStartLine("", 404, "Not Found"), headers, b"none")

    def callback(request: HTTPRequest) -> None:
        if late:
            end.loop.call_soon(respond, request)
        else:
            respond(request)

    end = wire(callback, access_log=lambda record, ip: records.append(record) or "")
    end.send(get())
    (record,) = records
    assert (record.status, record.size, record.response_header("x-a")) == (404, 4, "1")
    end.send(get(version="HTTP/1.0"))  # which closes, so it is framed by Python
    assert (records[1].status, records[1].size) == (404, 4)
    assert records[1].response_header("X-A") == "1"


def test_head_has_no_body(wire: Callable[..., Wire], lines: Lines) -> None:
    end = wire(answer, access_log="%(s)s %(B)s %(b)s")
    end.send(get().replace(b"GET", b"HEAD"))
    assert lines() == ["200 0 -"]


def test_exchange_with_an_access_log_stays_on_the_fast_path(wire: Callable[..., Wire]) -> None:
    fast: list[bool] = []

    def callback(request: HTTPRequest) -> None:
        answer(request)
        fast.append(request.connection.response is None)

    end = wire(callback, access_log="common")
    end.send(get(), get() + get(), get("/", "Connection: close"))
    assert fast == [True] * 4
    assert end.ended


def test_response_that_is_wrong_is_logged_as_it_was_sent(
    wire: Callable[..., Wire], lines: Lines, logs: Logs
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort")
        request.finish()

    end = wire(callback, access_log="%(s)s %(B)s")
    end.send(get())
    assert lines() == ["200 5"]
    assert len(logs.errors()) == 1


def test_what_is_no_http_has_no_status(wire: Callable[..., Wire], lines: Lines) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"hello")
        request.finish()

    end = wire(callback, access_log="%(s)s %(B)s", check_responses=False)
    end.send(get())
    assert lines() == ["- 0"]


# --- Where lines go -----------------------------------------------------------------------------


@contextlib.contextmanager
def unheard() -> Iterator[None]:
    """Have it that nobody has set up the logging; pytest gives the logger handlers, too."""
    handlers, log.access_log.handlers = log.access_log.handlers, []
    log.access_log.propagate = False
    try:
        yield
    finally:
        log.access_log.handlers = handlers
        log.access_log.propagate = True


@pytest.mark.parametrize("access_log", [True, "common", "%(r)s", AccessLog()])
def test_who_has_not_set_up_logging_sees_lines_on_stderr(
    wire: Callable[..., Wire], capfd: pytest.CaptureFixture[str], access_log: Any
) -> None:
    end = wire(answer, access_log=access_log)
    with unheard():
        end.send(get("/seen"))
    (line,) = capfd.readouterr().err.splitlines()
    assert "GET /seen HTTP/1.1" in line


def test_who_has_switched_the_logger_off_sees_none(
    wire: Callable[..., Wire], capfd: pytest.CaptureFixture[str]
) -> None:
    end = wire(answer, access_log=True)
    log.access_log.setLevel(logging.WARNING)
    try:
        with unheard():
            end.send(get())
    finally:
        log.access_log.setLevel(logging.NOTSET)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("access_log", [None, False])
def test_off(wire: Callable[..., Wire], lines: Lines, access_log: Any) -> None:
    end = wire(answer, access_log=access_log)
    end.send(get())
    assert lines() == []


def test_record_of_the_logging_module_has_attributes(wire: Callable[..., Wire], logs: Logs) -> None:
    logger = logging.getLogger("mine")
    logger.setLevel(logging.INFO)
    end = wire(answer, access_log=logger)
    end.send(get("/x", "User-Agent: agent"))
    (record,) = logs.records
    assert (record.name, record.levelno) == ("mine", logging.INFO)
    said = vars(record)
    assert (said["uri"], said["status"], said["size"], said["user_agent"]) == (
        "/x",
        200,
        2,
        "agent",
    )
    assert '"GET /x HTTP/1.1" 200 2' in record.getMessage()
    logger.setLevel(logging.ERROR)
    end.send(get("/y"))
    assert len(logs.records) == 1


def test_file(wire: Callable[..., Wire], tmp_path: Path) -> None:
    path = tmp_path / "access.log"
    end = wire(answer, access_log=AccessLog("%(r)s", path))
    end.send(get("/1") + get("/2"))
    assert path.read_text() == "GET /1 HTTP/1.1\nGET /2 HTTP/1.1\n"
    end.send(get("/3"))
    end.loop.run_until_complete(end.server.close_all_connections())
    assert path.read_text().endswith("GET /3 HTTP/1.1\n")


def test_file_and_logger_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not both"):
        AccessLog("common", tmp_path / "x", logging.getLogger("x"))


def test_file_that_cannot_be_opened_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        AccessLog("common", tmp_path / "no" / "x")


def test_stdout(wire: Callable[..., Wire], capfd: pytest.CaptureFixture[str]) -> None:
    end = wire(answer, access_log=AccessLog("%(U)s", "-"))
    end.send(get("/x"))
    assert capfd.readouterr().out == "/x\n"


# --- Ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "xheaders, fields, believed",
    [
        (True, ["X-Request-Id: 7f9c0e1a-b2._+/=:@"], True),
        (True, ["X-Request-Id: " + "a" * 128], True),
        (False, ["X-Request-Id: 7f9c"], False),
        (True, ["X-Request-Id: " + "a" * 129], False),
        (True, ["X-Request-Id: a b"], False),
        (True, ['X-Request-Id: a"'], False),
        (True, ["X-Request-Id: \xe9"], False),
        (True, ["X-Request-Id:"], False),
        (True, ["X-Request-Id: a", "X-Request-Id: b"], False),
        (True, [], False),
    ],
)
def test_id_is_that_of_the_proxy_or_made(
    wire: Callable[..., Wire], lines: Lines, xheaders: bool, fields: list[str], believed: bool
) -> None:
    ids: list[str] = []

    def callback(request: HTTPRequest) -> None:
        ids.append(request.request_id)
        answer(request)

    end = wire(callback, access_log="%(request_id)s", xheaders=xheaders)
    end.send(get("/", *fields))
    assert lines() == ids
    if believed:
        assert ids[0] == fields[0].partition(": ")[2]
    else:
        assert re.fullmatch("[0-9a-f]{24}", ids[0])


def test_ids_are_unique_also_in_forked_processes() -> None:
    first = HTTPRequest("GET", "/")
    ids = [first.request_id, HTTPRequest("GET", "/").request_id]
    assert first.request_id == ids[0] != ids[1]
    if hasattr(os, "register_at_fork"):
        program = (
            "import os; from fasthttpserver._http.request_ids import new_id\n"
            "new_id()\nos.fork()\nos.write(1, f'{new_id()}\\n'.encode())\n"
        )
        done = subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, check=True)
        parent, child = done.stdout.split()
        assert parent[:16] != child[:16]


# --- Fields, as they came -----------------------------------------------------------------------


def test_find_field(wire: Callable[..., Wire]) -> None:
    requests: list[HTTPRequest] = []
    end = wire(requests.append)
    end.send(get("/", "A: 1", "a:  2\t", "B: \xe9", "X-^Y: z"))
    (request,) = requests
    names = ("a", "A", "b", "x-^y", "c", "x-~y", "", "A\0", "\xe9", "\u20ac", "host")
    assert {name: value for name in names if (value := request.find_field(name)) is not None} == {
        "a": "1,2",
        "A": "1,2",
        "b": "\xe9",
        "x-^y": "z",
        "host": "a",
    }
    assert request.find_field("c", "none") == "none"
    assert request.find_field("a", "none") == "1,2"
    assert HTTPRequest("GET", "/").find_field("a") is None
    end.call(answer, request)
