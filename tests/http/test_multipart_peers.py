"""One multipart body, several readers: a part that only one of them sees gets past a filter.

What filters uploads in front of this server may use any of these. So what we read has to be
what they read, unless they refuse the body. A part that is malformed may be left out, with a
WARNING. Each other difference is judged in ``JUDGED``, and one that is not fails.

Bodies of few kinds of pieces: where parts begin and end is what is compared. How Tornado 6
reads them is not: it splits at boundaries inside lines, and up to the last final one.
"""

from __future__ import annotations

import email.policy
import io
import logging
import re
from collections import Counter
from collections.abc import Callable
from email.parser import BytesParser
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httputil import HTTPFile, parse_multipart_form_data

BOUNDARY = b"b"


class Part(NamedTuple):
    """What readers have to agree about."""

    name: str
    filename: str | None
    value: bytes


# --- Readers: the parts, or None for a body that is refused ---------------------------------


class Lines(logging.Handler):
    """Counts lines of the log."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1


def read_ours(body: bytes) -> tuple[list[Part] | None, bool]:
    """Read with this package; tell also whether it has warned that something is left out."""
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    lines = Lines()
    logger = logging.getLogger("fasthttpserver.general")
    logger.addHandler(lines)
    try:
        parse_multipart_form_data(BOUNDARY, body, arguments, files)
    except HTTPInputError:
        return None, False
    finally:
        logger.removeHandler(lines)
    parts = [Part(name, None, value) for name, values in arguments.items() for value in values]
    for name, uploads in files.items():
        parts += [Part(name, file.filename, file.body) for file in uploads]
    return parts, lines.count > 0


def read_multipart(body: bytes) -> list[Part] | None:
    """Read with what Bottle has its forms read by."""
    import multipart

    try:
        parts = multipart.MultipartParser(io.BytesIO(body), BOUNDARY, len(body)).parts()
    except multipart.MultipartError:
        return None
    return [Part(part.name, part.filename or None, part.raw) for part in parts]


def read_python_multipart(body: bytes) -> list[Part] | None:
    """Read with what Starlette and FastAPI have their forms read by."""
    from python_multipart import FormParser
    from python_multipart.exceptions import FormParserError

    parts: list[Part] = []

    def on_field(field: Any) -> None:
        parts.append(Part(field.field_name.decode(), None, field.value or b""))

    def on_file(file: Any) -> None:
        file.file_object.seek(0)
        value = file.file_object.read()
        parts.append(Part(file.field_name.decode(), file.file_name.decode(), value))

    parser = FormParser("multipart/form-data", on_field, on_file, boundary=BOUNDARY)
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        return None
    return parts


def read_werkzeug(body: bytes) -> list[Part] | None:
    """Read with what Flask has its forms read by."""
    from werkzeug.exceptions import HTTPException
    from werkzeug.formparser import MultiPartParser

    # In memory: it leaves its temporary files open when it refuses a body.
    parser = MultiPartParser(stream_factory=lambda *args, **kwargs: io.BytesIO())
    try:
        form, files = parser.parse(io.BytesIO(body), BOUNDARY, len(body))
    except (ValueError, HTTPException):
        return None
    parts = [Part(name, None, value.encode()) for name, value in form.items(multi=True)]
    for name, file in files.items(multi=True):
        parts.append(Part(name, file.filename, file.read()))
    return parts


def read_email(body: bytes) -> list[Part] | None:
    """Read with the standard library, as what takes the place of ``cgi`` does."""
    head = b"Content-Type: multipart/form-data; boundary=%s\r\n\r\n" % BOUNDARY
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + body)
    if message.defects or not message.is_multipart():
        return None
    parts = []
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        value = part.get_payload(decode=True)
        if part.defects or name is None or not isinstance(value, bytes):
            return None
        parts.append(Part(str(name), part.get_filename(), value))
    return parts


READERS: dict[str, Callable[[bytes], list[Part] | None]] = {
    "multipart": read_multipart,
    "python_multipart": read_python_multipart,
    "werkzeug": read_werkzeug,
    "email": read_email,
}


@pytest.fixture(scope="module", params=READERS)
def peer(request: pytest.FixtureRequest) -> str:
    """The name of a reader that is installed."""
    name: str = request.param
    pytest.importorskip(name, reason=f"{name} is not installed")
    return name


# --- What was judged ------------------------------------------------------------------------


class Judgement(NamedTuple):
    """A difference that is meant; ``applies`` finds its cause in the body."""

    peers: str
    applies: Callable[[bytes], object]
    why: str


def has_a_head_before_the_first_boundary(body: bytes) -> bool:
    return b"\r\n\r\n" in body[: body.find(b"--b")]


def goes_on_behind_the_final_boundary(body: bytes) -> object:
    return re.search(rb"(\A|\r\n)--b--(?![ \t]*([\r\n]|\Z))", body)


JUDGED = [
    Judgement(
        "multipart werkzeug email",
        has_a_head_before_the_first_boundary,
        "What has the form of a part is one, though the first boundary is missing: Tornado's "
        "own tests send that. To others it is the preamble, or they refuse it.",
    ),
    Judgement(
        "email",
        goes_on_behind_the_final_boundary,
        "RFC 2046 section 5.1.1: what follows the final boundary is ignored, whatever it is. "
        "To email the line is none then.",
    ),
]


def judgements(peer: str, body: bytes) -> list[Judgement]:
    return [j for j in JUDGED if peer in j.peers.split() and j.applies(body)]


def differ(peer: str, body: bytes) -> bool:
    """Tell whether we and a peer accept a body, and see other parts in it."""
    ours, has_warned = read_ours(body)
    theirs = READERS[peer](body)
    if ours is None or theirs is None:
        return False
    only_ours, only_theirs = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    return bool(only_ours or (only_theirs and not has_warned))


# --- Bodies ---------------------------------------------------------------------------------


def head(parameters: str) -> bytes:
    return f"Content-Disposition: form-data; {parameters}\r\n\r\n".encode()


PIECES = [b"x", b"-", b" ", b"\t", b"\r", b"\n", b"\r\n", b"--b", b"--b--", b"A: b\r\n"]
PIECES += [b"--b\r\n", b"\r\n--b\r\n", b"\r\n--b--\r\n"]
PIECES += [head('name="admin"'), b"\r\n--b\r\n" + head('name="admin"')]
PIECES += [head('name="f"; filename="n"'), b"\r\n--b\r\n" + head('name="f"; filename="n"')]
rubbish = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)
parts = rubbish.map(lambda value: b"--b\r\n" + head('name="comment"') + b"x" + value + b"\r\n")
bodies = st.builds(
    lambda preamble, parts, epilogue: preamble + b"".join(parts) + b"--b--" + epilogue,
    rubbish,
    st.lists(parts, min_size=1, max_size=2),
    rubbish,
)
WITHOUT_FIRST = head('name="admin"') + b"1\r\n--b\r\n" + head('name="a"') + b"x\r\n--b--"
GOES_ON = b"--b\r\n" + head('name="a"') + b"x\r\n--b--x\r\n--b--"


@example(body=WITHOUT_FIRST)
@example(body=GOES_ON)
@given(body=bodies)
def test_body_is_read_as_by_a_peer(peer: str, body: bytes) -> None:
    if differ(peer, body):
        assert judgements(peer, body)


@given(values=st.lists(st.text("ac \r\n-:;"), min_size=1))
def test_every_reader_reads_what_honest_clients_send(peer: str, values: list[str]) -> None:
    expected = [Part(str(i), None, value.encode()) for i, value in enumerate(values)]
    body = b"".join(
        b"--b\r\n" + head(f'name="{part.name}"') + part.value + b"\r\n" for part in expected
    )
    assert read_ours(body + b"--b--\r\n") == (expected, False)
    assert READERS[peer](body + b"--b--\r\n") == expected


def test_every_judgement_is_needed(peer: str) -> None:
    used = [
        judged.why
        for body in [WITHOUT_FIRST, GOES_ON]
        if differ(peer, body)
        for judged in judgements(peer, body)
    ]
    assert used == [judged.why for judged in JUDGED if peer in judged.peers.split()]
