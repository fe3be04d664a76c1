"""A WebSocket echo (RFC 6455): the frames are those of the package `websockets`, the bytes ours.

Run `pip install websockets` and `python examples/websocket_echo.py` (PORT=... for another port),
then try `websockets ws://127.0.0.1:8888/`.
"""

import contextlib
import os

from websockets.datastructures import Headers
from websockets.frames import Opcode
from websockets.http11 import Request
from websockets.protocol import State
from websockets.server import ServerProtocol

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.ioloop import IOLoop
from fasthttpserver.netutil import bind_sockets


async def handle_request(request):
    if request.method != "GET":
        request.respond(405, "Try GET\n", {"Allow": "GET"})
        return
    if not request.upgrade:
        fields = {"Upgrade": "websocket", "Connection": "Upgrade"}
        request.respond(426, "This is a WebSocket\n", fields)
        return
    # OPEN: the request has been read already.
    protocol = ServerProtocol(state=State.OPEN, max_size=1_000_000)
    response = protocol.accept(Request(request.uri, Headers(request.headers.get_all())))
    if response.status_code != 101:  # no key, another version
        request.respond(response.status_code, response.body.decode())
        return
    stream = request.connection.detach()  # HTTP ends here
    stream.write(response.serialize())
    with contextlib.closing(stream):
        await echo(stream, protocol)


async def echo(stream, protocol):
    while True:  # or until a read raises StreamClosedError: the client left
        protocol.receive_data(await stream.read_bytes(65536, partial=True))
        for frame in protocol.events_received():  # pings are answered by the protocol
            if frame.opcode is Opcode.TEXT:
                protocol.send_text(frame.data, frame.fin)
            elif frame.opcode is Opcode.BINARY:
                protocol.send_binary(frame.data, frame.fin)
            elif frame.opcode is Opcode.CONT:
                protocol.send_continuation(frame.data, frame.fin)
        for data in protocol.data_to_send():
            if not data:  # the WebSocket is closed
                return
            await stream.write(data)


if __name__ == "__main__":
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"ws://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        IOLoop.current().start()
