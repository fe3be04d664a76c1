"""A short run of the randomised test in ``fuzz/exchanges.py``, and its checker."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "fuzz"))

from exchanges import Outcome, Round, make_certificates
from exchanges_app import Plan
from exchanges_client import Answers, Fault
from exchanges_programs import Exchange, Program, make_program

CLIENTS = 12
PROGRAMS = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("certificates")
    make_certificates(path)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_no_answer_is_lost_doubled_swapped_or_cut(
    loop_kind: str, tls: bool, folder: Path, nothing_left: None
) -> None:
    each = Round("1", loop_kind, tls, folder, quick=True)
    asyncio.run(each.run(CLIENTS, PROGRAMS))
    assert not each.found, "\n".join(map(str, each.found))
    assert each.counts["exchanges"] > CLIENTS * PROGRAMS


def test_a_seed_and_a_name_make_the_same_program() -> None:
    first, second = (make_program("1", "2:3", False) for _ in range(2))
    assert first == second
    assert first != make_program("2", "2:3", False)
    assert first != make_program("1", "2:4", False)


# What a server that is right tells of a program with A and B, both answered.
REPORT: dict[str, Any] = {
    "begun": ["a", "b"],
    "told": [],
    "unwritten": [],
    "faults": [],
    "stats": {"connections": {"active": 0, "idle": 0}},
    "tasks": [],
    "sockets": 0,
    "drained": {"aborted": 0},
}


@pytest.mark.parametrize(
    ("told", "symptom"),
    [
        ({}, ""),
        ({"begun": ["a", "b", "b"]}, "b was run 2 times"),
        ({"begun": ["a", "b", "c"]}, "c was run 1 times"),
        ({"told": ["a"]}, "a was told"),
        ({"unwritten": ["a"]}, "a: its write callback"),
        ({"faults": ["logged: x"]}, "server: logged: x"),
        ({"stats": {"connections": {"active": 1, "idle": 0}}}, "left"),
        ({"tasks": ["<Task>"]}, "left"),
        ({"sockets": 1}, "1 sockets"),
        ({"drained": {"aborted": 1}}, "drained"),
    ],
)
def test_report_of_the_server_is_compared(told: dict[str, Any], symptom: str, folder: Path) -> None:
    each = Round("1", "asyncio", False, folder)
    each.check(REPORT | told, [Outcome(program_of(A, B, END), 2)])
    assert [found.symptom.startswith(symptom) for found in each.found] == [True] * bool(told)


def test_poll_has_to_be_told_that_its_client_left(folder: Path) -> None:
    each = Round("1", "asyncio", False, folder)
    poll = Exchange(Plan("b", timing="poll"))
    each.check(REPORT, [Outcome(program_of(A, poll, ending="fin"), 1)])
    assert [found.symptom for found in each.found] == ["b was not told that its client left"]


def test_answer_that_did_not_come_is_missed_if_its_request_was_run(folder: Path) -> None:
    each = Round("1", "asyncio", False, folder)
    each.check(REPORT, [Outcome(program_of(A, B, END), 1)])
    assert [found.symptom for found in each.found] == ["b was run and its answer did not come"]


# --- The checker ------------------------------------------------------------------------------


def program_of(*exchanges: Exchange, **options: Any) -> Program:
    """A program that sends all of these at once."""
    return Program("test", exchanges, until=sum(map(len, map(wire_of, exchanges))), **options)


def wire_of(exchange: Exchange) -> bytes:
    return exchange.head + exchange.rest


A = Exchange(Plan("a", size=3000))
B = Exchange(Plan("b", "raw_chunked", size=3000), connection="close")
END = Exchange(Plan("c", "framed_chunked", size=3000), version="1.0")
SILENT = Exchange(Plan("e", timing="silent"))
BROKEN = Exchange(Plan("d", size=3000, pieces=3, fails_at=2))


def answer_to(exchange: Exchange) -> bytes:
    """What a server that is right sends."""
    body = exchange.answer
    fields = f"HTTP/1.1 {exchange.status} OK\r\nX-Id: {exchange.plan.id}\r\n"
    if exchange.ends_with_connection:
        return f"{fields}\r\n".encode() + body
    if exchange.plan.framing.endswith("length"):
        return f"{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in (body[:100], body[100:]))
    return f"{fields}Transfer-Encoding: chunked\r\n\r\n".encode() + chunks + b"0\r\n\r\n"


def check(
    exchanges: list[Exchange], data: bytes, how: str = "eof", step: int = 1 << 20, **options: Any
) -> Answers:
    """Let the checker read all of it, in steps, and the end."""
    answers = Answers(program_of(*exchanges, **options), lambda: False)
    for at in range(0, len(data), step):
        answers.feed(data[at : at + step])
    answers.end(how)
    return answers


A_, B_ = answer_to(A), answer_to(B)

RIGHT = {
    "two": ([A, B], A_ + B_, "eof"),
    "nothing behind the last": ([A, B, A], A_ + B_, "eof"),
    "ends with the connection": ([A, END], A_ + answer_to(END), "eof"),
    "the application failed": ([A, BROKEN], A_ + answer_to(BROKEN)[:500], "reset"),
    "the application failed early": ([A, BROKEN], A_, "eof"),
    "the application wrote nothing": ([A, SILENT], A_, "eof"),
    "reset behind a whole answer": ([B], B_, "reset"),
}


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize("name", RIGHT)
def test_checker_takes_what_is_right(name: str, step: int) -> None:
    exchanges, data, how = RIGHT[name]
    check(exchanges, data, how, step)


def changed(data: bytes) -> bytes:
    """A byte of the body is another."""
    return data[:-50] + bytes([data[-50] ^ 1]) + data[-49:]


WRONG: dict[str, tuple[list[Exchange], bytes, str, str]] = {
    "lost": ([A, B], B_, "eof", "the answer to b instead of a"),
    "lost at the end": ([A, B], A_, "eof", "answers are missing"),
    "doubled": ([A, B], A_ + A_ + B_, "eof", "the answer to a instead of b"),
    "doubled at the end": ([A, B], A_ + B_ + B_, "eof", "bytes behind"),
    "swapped": ([A, B], B_ + A_, "eof", "the answer to b instead of a"),
    "cut": ([B], B_[:-1], "eof", "cut"),
    "cut in the head": ([B], B_[:5], "eof", "cut"),
    "cut by a reset": ([A, B], A_ + B_[:500], "reset", "cut"),
    "cut before one that may be": ([A, BROKEN], A_[:500], "reset", "cut"),
    "changed": ([A, B], changed(A_) + B_, "eof", "wrong bytes"),
    "foreign body": ([A], A_.replace(A.answer, b"x" * len(A.answer)), "eof", "wrong bytes"),
    "longer": ([A], A_.replace(b"Length: 3", b"Length: 4"), "eof", "Content-Length"),
    "shorter chunks": ([B], B_.replace(B_[-2000:-5], b""), "eof", "wrong bytes|chunks"),
    "closed": ([A, A], A_ + A_, "eof", "was closed"),
    "cut, as if by its end": ([END], answer_to(END), "cut", "ends with the connection"),
    "announced": ([A, B], A_.replace(b"X", b"Connection: close\r\nX", 1) + B_, "eof", "announced"),
    "another status": ([A, B], A_.replace(b"200", b"404", 1) + B_, "eof", "404 instead of 200"),
    "no response": ([A], b"<html>\r\n\r\n", "eof", "no head"),
    "no status": ([A], b"HTTP/1.1 OK\r\n\r\n", "eof", "no response"),
    "no chunk": ([B], B_.replace(b"64\r\n", b"xy\r\n"), "eof", "no response"),
    "not asked to continue": ([A], b"HTTP/1.1 100 Continue\r\n\r\n" + A_, "eof", "nobody asked"),
}


@pytest.mark.parametrize("name", WRONG)
def test_checker_sees_what_is_wrong(name: str) -> None:
    exchanges, data, how, symptom = WRONG[name]
    with pytest.raises(Fault, match=symptom):
        check(exchanges, data, how)


def test_half_closed_is_answered_to_the_last_whole_request() -> None:
    cut = len(wire_of(A)) + 10
    program = Program("test", (A, A), until=cut, ending="half")
    answers = Answers(program, lambda: False)
    answers.feed(A_)
    answers.end("eof")
    missing = Answers(program, lambda: False)
    with pytest.raises(Fault, match="missing"):
        missing.end("eof")


def test_draining_server_may_announce_the_end_but_not_go_on() -> None:
    closing = A_.replace(b"X", b"Connection: close\r\nX", 1)
    answers: Callable[[], Answers] = lambda: Answers(program_of(A, A), lambda: True)  # noqa: E731
    ended = answers()
    ended.feed(closing)
    ended.end("eof")
    with pytest.raises(Fault, match="bytes behind"):
        answers().feed(closing + A_)
    cut = answers()
    cut.feed(A_[:100])
    with pytest.raises(Fault, match="cut"):
        cut.end("eof")
