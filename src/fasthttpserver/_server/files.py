"""A file as a response: which file it is, and what of it is sent.

A path may come from a client. With a root, nothing but a regular file below it is opened: the path
is resolved first, and then opened folder by folder, without following a symbolic link that was
put there meanwhile.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from pathlib import PurePath
from time import time
from typing import IO, TYPE_CHECKING

from fasthttpserver import httputil
from fasthttpserver._http.conditions import Version, failed_condition, wanted_range
from fasthttpserver._http.fields import Fields
from fasthttpserver._http.whole import Pairs, has_field, separate_type, start_line_of
from fasthttpserver.errors import HTTPOutputError

if TYPE_CHECKING:
    from fasthttpserver._server.request import HTTPRequest

__all__ = ["send_file"]

# Up to so many bytes are read at once, and sent together with their head.
_SMALL = 65_536
# A file that was modified in the last second may be modified again without another mtime: clocks of
# file systems go in steps. Apache calls its tag weak for as long.
_RESTED = 1.0

_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # a FIFO would wait for somebody to write to it
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | _NONBLOCK | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOCTTY", 0)
# O_PATH, where there is one: a folder of which the files may be read need not be readable itself.
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0)

# What may separate the parts of a path beside /, or a stream's name from its file's.
_SEPARATORS = frozenset("\\:" if os.name == "nt" else "\\")

# There is no such file, or it cannot be sent.
_NOT_THERE = frozenset(
    (
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.ENAMETOOLONG,
        errno.ENXIO,
        errno.ENODEV,
        errno.EINVAL,
    )
)


async def send_file(
    request: HTTPRequest,
    path: str | os.PathLike[str],
    root: str | os.PathLike[str] | None,
    headers: Fields | None,
    content_type: str | None,
) -> None:
    """Answer a request with a file; see ``HTTPRequest.send_file``."""
    if request.method not in ("GET", "HEAD"):
        request.respond(405, "Method Not Allowed\n", {"Allow": "GET, HEAD"})
        return
    fields, content_type = separate_type(headers or (), content_type)
    name = os.fsdecode(path)
    if root is not None and not os.path.isdir(root):  # the client has not chosen it
        raise NotADirectoryError(errno.ENOTDIR, "the root of files is not a folder", str(root))
    try:
        descriptor = _open(name) if root is None else _open_below(os.fsdecode(root), name)
    except PermissionError:
        request.respond(403, "Forbidden\n")
        return
    except ValueError:  # no name of a file: NUL, or what the file system cannot encode
        descriptor = None
    except OSError as error:
        if error.errno not in _NOT_THERE:
            raise
        descriptor = None
    if descriptor is None:
        request.respond(404, "Not Found\n")
        return
    with os.fdopen(descriptor, "rb") as file:
        await _send(request, file, fields, content_type or _type_of(name))


async def _send(request: HTTPRequest, file: IO[bytes], fields: Pairs, content_type: str) -> None:
    status = os.fstat(file.fileno())
    size = status.st_size
    version = _version(status, fields)
    get = request._named_fields().get
    failed = failed_condition(get, version)
    if failed == 304:
        request.respond(304, b"", fields)
        return
    if failed is not None:  # without the application's fields: it is for nobody else to keep
        request.respond(failed, "Precondition Failed\n")
        return
    wanted = wanted_range(get, version, size) if request.method == "GET" else None
    fields.append(("Accept-Ranges", "bytes"))
    if wanted is None:
        code, wanted = 200, range(size)
    elif not wanted:
        request.respond(416, b"", [("Content-Range", f"bytes */{size}")])
        return
    else:
        code = 206
        fields.append(("Content-Range", f"bytes {wanted[0]}-{wanted[-1]}/{size}"))
    if request.method == "HEAD":
        request.respond(code, b"", [*fields, ("Content-Length", size)], content_type)
    elif len(wanted) <= _SMALL:
        file.seek(wanted.start)
        body = file.read(len(wanted))
        if len(body) < len(wanted):
            raise HTTPOutputError(f"The file ended {len(wanted) - len(body)} bytes early")
        request.respond(code, body, fields, content_type)
    else:
        head = request._described([*fields, ("Content-Length", len(wanted))], content_type)
        connection = request.connection
        connection.write_headers(start_line_of(code), head)
        await connection.send_file(file, wanted.start, len(wanted))
        request.finish()


def _version(status: os.stat_result, fields: Pairs) -> Version:
    """Return what tells the version of a file, and add it to the fields.

    An ETag and a Last-Modified of the application stay; its dates are not compared.
    """
    now = time()
    modified = None
    if not has_field(fields, "Last-Modified"):
        # Not later than Date: RFC 9110 section 8.8.2.1.
        modified = min(int(status.st_mtime), int(now))
        try:
            fields.append(("Last-Modified", httputil.format_timestamp(modified)))
        except (ValueError, OverflowError, OSError):
            modified = None  # no calendar has it
    for name, value in fields:
        if name == "Etag":
            own = value.decode("latin-1") if isinstance(value, bytes) else str(value)
            return Version(own, modified)
    # The number of the file, too: some builders give all files the same time, and two versions of
    # the same size would be one. So copies on other machines have other tags: that costs a
    # transfer, and never mixes two versions.
    tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}-{status.st_ino:x}"'
    if now - status.st_mtime < _RESTED:
        tag = f"W/{tag}"
    fields.append(("ETag", tag))
    return Version(tag, modified)


def _type_of(name: str) -> str:
    """Return the media type of a file by its name."""
    kind, encoding = mimetypes.guess_type(PurePath(name).name)
    if encoding is not None:  # it is sent as it is, and not unpacked by the client
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    return kind or "application/octet-stream"


# --- Opening ------------------------------------------------------------------------------


def _open(name: str, folder: int | None = None) -> int | None:
    """Open a regular file; return its descriptor, or None if it is something else.

    Args:
        name: Its name, or path.
        folder: Where it is, if not None; then a symbolic link is something else, too.
    """
    # Looked at first: opening a device may do something.
    status = os.stat(name, dir_fd=folder, follow_symlinks=folder is None)
    if not stat.S_ISREG(status.st_mode):
        return None
    descriptor = os.open(name, _FILE if folder is None else _FILE | _NOFOLLOW, dir_fd=folder)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)  # it has become something else meanwhile
    return None


def _open_below(root: str, name: str) -> int | None:
    """Open a regular file below a folder, as ``_open``; None if it is elsewhere, too."""
    parts = name.split("/")
    # Resolving a path leaves out the "." and the slash that the system would refuse after a file.
    if parts[-1] in ("", ".") or ".." in parts or not _SEPARATORS.isdisjoint(name):
        return None
    root = os.path.realpath(root)
    path = os.path.realpath(os.path.join(root, name.lstrip("/")))
    if not PurePath(path).is_relative_to(root):
        return None
    if os.open not in os.supports_dir_fd:
        return _open(path)
    names = PurePath(path).relative_to(root).parts
    folder = os.open(root, _FOLDER)
    try:
        for part in names[:-1]:
            inner = os.open(part, _FOLDER | _NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        return _open(names[-1], folder) if names else None
    finally:
        os.close(folder)
