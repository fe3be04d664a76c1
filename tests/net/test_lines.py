"""Lines that are collected, and written together."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import Logs

from fasthttpserver._net.lines import FileOutput, Output, StreamOutput, flush_lines, reopen_files


class Kept(Output):
    """Keeps what it is to write; raises what it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.error: OSError | None = None

    def write(self, data: bytes) -> None:
        if self.error is not None:
            raise self.error
        self.written.append(data)


class SetLoop(asyncio.SelectorEventLoop):
    """A loop whose clock goes on when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def turn(self) -> None:
        for _ in range(3):
            self.call_soon(self.stop)
            self.run_forever()


@pytest.fixture
def loop() -> Any:
    loop = SetLoop()
    yield loop
    loop.close()


def test_lines_of_one_turn_are_one_write(loop: SetLoop) -> None:
    output = Kept()
    output.add(b"a", loop)
    output.add(b"b", loop)
    assert output.written == []
    loop.turn()
    assert output.written == [b"a\nb\n"]


def test_there_are_few_writes_in_a_second(loop: SetLoop) -> None:
    output = Kept()
    for line in b"abcd":
        output.add(bytes([line]), loop)
        loop.turn()
    assert output.written == [b"a\n"]
    loop.now += 0.3
    loop.turn()
    assert output.written == [b"a\n", b"b\nc\nd\n"]
    output.add(b"e", loop)
    loop.now += 10.0
    loop.turn()
    loop.turn()
    assert output.written[2:] == [b"e\n"]  # at once after a silence


def test_many_lines_do_not_wait(loop: SetLoop) -> None:
    output = Kept()
    for _ in range(80):
        output.add(b"x" * 1000, loop)
    assert [len(data) for data in output.written] == [66 * 1001]


def test_another_loop_writes_if_the_first_one_never_runs_again(loop: SetLoop) -> None:
    output = Kept()
    with_end = SetLoop()
    output.add(b"a", with_end)
    with_end.close()
    output.add(b"b", loop)
    loop.turn()
    assert output.written == [b"a\nb\n"]


def test_what_cannot_be_written_is_told_once(loop: SetLoop, logs: Logs) -> None:
    output = Kept()
    output.error = OSError(errno.ENOSPC, "No space left on device")
    for line in (b"a", b"b"):
        output.add(line, loop)
        output.flush()
    (message,) = logs.warnings()
    assert message.startswith("Cannot write the access log, lines are lost: ")
    output.error = None
    output.add(b"c", loop)
    output.flush()
    assert logs.warnings() == ["The access log is written again, 2 lines are lost"]
    assert output.written == [b"c\n"]
    loop.turn()


def test_full_disk_and_closed_pipe_are_errors_that_it_knows(loop: SetLoop, logs: Logs) -> None:
    output = FileOutput("/dev/full")
    output.add(b"a", loop)
    output.flush()
    assert "No space left" in logs.warnings()[0]
    loop.turn()


def test_line_that_was_written_in_part_does_not_run_into_the_next_one(
    loop: SetLoop, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # as a parent may have left it
    os.set_blocking(reader, False)
    with open(reader, "rb") as come, open(writer, "wb") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        output = StreamOutput("stdout")
        for _ in range(2):
            output.add(bytes(1_000_000), loop)  # more than the pipe takes
            output.flush()
        part = come.read()
        assert part.strip(b"\0") == b""
        for line in (b"whole", b"another"):
            output.add(line, loop)
            output.flush()
        assert come.read() == b"\nwhole\nanother\n"
        monkeypatch.undo()
    assert len(logs.warnings()) == 2
    loop.turn()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")
def test_fifo_that_nobody_reads_is_an_error_and_not_waited_for(
    loop: SetLoop, tmp_path: Path, logs: Logs
) -> None:
    path = str(tmp_path / "fifo")
    os.mkfifo(path)
    with pytest.raises(OSError, match=path):
        FileOutput(path)
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        output = FileOutput(path)
        assert os.get_blocking(output._fd)
        output.add(b"read", loop)
        output.flush()
        assert reader.read() == b"read\n"
    output.reopen()  # as for all outputs, on a signal
    assert "Cannot reopen the access log" in logs.warnings()[0]
    loop.turn()


def test_several_append_to_one_file_and_it_may_be_moved_away(
    loop: SetLoop, tmp_path: Path, logs: Logs
) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"before\n")
    outputs = [FileOutput(str(path)), FileOutput(str(path))]
    for number, output in enumerate(outputs):
        output.add(b"%d" % number, loop)
        output.flush()
    assert path.read_bytes() == b"before\n0\n1\n"
    path.rename(tmp_path / "old")
    outputs[0].add(b"late", loop)
    reopen_files()
    outputs[0].add(b"new", loop)
    flush_lines()
    assert path.read_bytes() == b"new\n"
    assert (tmp_path / "old").read_bytes() == b"before\n0\n1\nlate\n"
    tmp_path.rename(tmp_path.with_name("moved"))
    reopen_files()
    assert [message[:28] for message in logs.warnings()] == ["Cannot reopen the access log"] * 2
    outputs[0].add(b"still", loop)
    flush_lines()
    assert (tmp_path.with_name("moved") / "log").read_bytes() == b"new\nstill\n"
    loop.turn()


@pytest.mark.parametrize("name", ["stderr", "stdout"])
def test_stream_is_the_one_of_the_time(
    loop: SetLoop, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    output = StreamOutput(name)
    output.add(b"to the file", loop)
    output.flush()
    assert getattr(capfd.readouterr(), name[3:]) == "to the file\n"
    other = io.StringIO()
    monkeypatch.setattr(sys, name, other)
    output.add(b"to the notebook", loop)
    output.flush()
    assert other.getvalue() == "to the notebook\n"
    monkeypatch.setattr(sys, name, None)
    output.add(b"to nobody", loop)
    output.flush()
    loop.turn()


def test_closed_stream_is_a_failure_to_write(
    loop: SetLoop, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    output = StreamOutput("stderr")
    other = io.StringIO()
    other.close()
    monkeypatch.setattr(sys, "stderr", other)
    output.add(b"a", loop)
    output.flush()
    assert len(logs.warnings()) == 1
    loop.turn()


PROGRAM = """
import asyncio, os, sys
from fasthttpserver._net.lines import FileOutput, StreamOutput
loop = asyncio.new_event_loop()
output = FileOutput(sys.argv[1])
output.add(b"parent", loop)
pid = os.fork()
output.add(b"child" if not pid else b"later", loop)
if pid:
    os.waitpid(pid, 0)
loop.close()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_end_of_the_process_loses_no_line_and_a_fork_doubles_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    command = [sys.executable, "-c", PROGRAM, str(path)]
    subprocess.run(command, check=True)
    assert path.read_bytes() == b"parent\nchild\nlater\n"


def test_descriptor_is_closed_with_the_output(tmp_path: Path) -> None:
    output = FileOutput(str(tmp_path / "log"))
    fd = output._fd
    del output
    with pytest.raises(OSError):
        os.fstat(fd)
