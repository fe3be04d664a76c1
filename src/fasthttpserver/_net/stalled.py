"""Says so when clients wait for an event loop that nobody runs.

``listen()`` may come before the loop runs; that is how Tornado's programs begin, and the kernel
lets clients wait. But ``asyncio.run()`` makes a loop of its own, and then clients would wait for
ever, with no word in any log. None of our code runs in such a process, so only a thread can tell.
"""

from __future__ import annotations

import os
import selectors
import socket
import threading
import traceback
from asyncio import AbstractEventLoop
from collections.abc import Sequence

from fasthttpserver.log import gen_log

__all__ = ["StallWatch"]

# Seconds that a client may wait for the loop to start.
_PATIENCE = 1.0

_PACKAGE = os.path.dirname(os.path.dirname(__file__)) + os.sep


class StallWatch:
    """A thread that waits for the first client, or for the loop, and ends with either.

    Args:
        loop: It does not run yet.
        sockets: They listen, and are closed after ``end()``.
        advice: What to do about a loop that does not run.
    """

    def __init__(
        self, loop: AbstractEventLoop, sockets: Sequence[socket.socket], advice: str
    ) -> None:
        self._sockets = {sock: _text(sock.getsockname()) for sock in sockets}
        self._advice = advice
        self._where = _caller()
        self._awake, self._wake = socket.socketpair()
        self._handle = loop.call_soon(self.end)
        # At the end of the program nobody has to wait for it.
        self._thread = threading.Thread(target=self._run, name="StallWatch", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop watching: the loop runs, or the server has stopped. Harmless when it is over."""
        self._handle.cancel()
        self._wake.close()
        self._thread.join()
        self._awake.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._awake, selectors.EVENT_READ)
            for sock in self._sockets:
                selector.register(sock, selectors.EVENT_READ)
            ready = {key.fileobj for key, _ in selector.select()}
            if self._awake in ready:
                return
            for sock in self._sockets:
                selector.unregister(sock)
            if selector.select(_PATIENCE):
                return
        address = next(address for sock, address in self._sockets.items() if sock in ready)
        gen_log.warning(
            "A client waits on %s, but the event loop that was to serve it does not run. "
            "The server was started at %s, where no loop ran; %s",
            address,
            self._where,
            self._advice,
        )


def _text(address: object) -> str:
    return f"{address[0]}:{address[1]}" if isinstance(address, tuple) else str(address)


def _caller() -> str:
    """Return the place in the program that called this package."""
    for frame, line in traceback.walk_stack(None):
        if not frame.f_code.co_filename.startswith(_PACKAGE):
            return f"{frame.f_code.co_filename}:{line}"
    return "an unknown place"
