"""nginx and HAProxy for tests, configured as docs/howto says, word for word."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers import TIMEOUT, eventually

HOWTO = Path(__file__).resolve().parents[1] / "docs" / "howto"


def block(page: str, marker: str) -> str:
    """The block of code after an HTML comment in a page."""
    text = (HOWTO / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"<!-- {marker} -->\n```\w+\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert isinstance(found, str)
    return found


def put(text: str, *changes: tuple[str, str]) -> str:
    """Change what depends on the machine; each piece of text is there, once."""
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def answers(port: int) -> bool:
    """Whether somebody accepts there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), TIMEOUT):
        return True
    return False


def ask(client: http.client.HTTPConnection, uri: str = "/", **fields: str) -> str:
    """The body of the answer to a GET, which must be a 200."""
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    client.request("GET", uri, headers=headers)
    response = client.getresponse()
    body = response.read().decode()
    assert response.status == 200, body
    return body


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    """Run a proxy in the foreground until the end; its log is shown if it does not start."""
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        eventually(lambda: process.poll() is not None or answers(port))
        assert process.poll() is None, log.read_text()
        yield
    finally:
        process.terminate()  # at once: nothing is asked any more
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def find(name: str) -> str:
    """The program of this name; skips the test if it is not installed."""
    program = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip(f"{name} is not installed (Debian: apt install {name})")
    return program


@contextlib.contextmanager
def run_nginx(folder: Path, port: int, server: str) -> Iterator[None]:
    """Run nginx.

    Args:
        folder: For its files.
        port: Where it listens.
        server: The inside of the block ``http``.
    """
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    folders = "".join(f"{kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    # Workers of a server that root starts could not read the test's folder.
    user = "user root;\n" if os.geteuid() == 0 else ""
    path = folder / "nginx.conf"
    path.write_text(
        f"{user}daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr;\n"
        f"events {{}}\nhttp {{\naccess_log off;\n{folders}{server}}}\n"
    )
    command = [find("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(path)]
    with running(command, port, folder / "nginx.log"):
        yield


@contextlib.contextmanager
def run_haproxy(folder: Path, port: int, configuration: str) -> Iterator[None]:
    """Run HAProxy.

    Args:
        folder: For its files.
        port: Where it listens.
        configuration: The text of it.
    """
    path = folder / "haproxy.cfg"
    path.write_text(configuration)
    with running([find("haproxy"), "-db", "-f", str(path)], port, folder / "haproxy.log"):
        yield
