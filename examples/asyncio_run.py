"""A server inside `asyncio.run` that ends gracefully: running requests get their time.

Run `python examples/asyncio_run.py` (PORT=... for another port), then try
`curl 'http://127.0.0.1:8888/?seconds=5'` and press Ctrl-C in the server's terminal: it takes
no new client, and ends when that answer is complete.
"""

import asyncio
import os
import signal

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.httputil import HTTPHeaders, ResponseStartLine
from fasthttpserver.netutil import bind_sockets


async def handle_request(request):
    seconds = float(request.arguments.get("seconds", [b"0"])[0])
    start_line, headers = ResponseStartLine("HTTP/1.1", 200, "OK"), HTTPHeaders()
    headers["Content-Length"] = "5"
    await request.connection.write_headers(start_line, headers)
    await asyncio.sleep(seconds)
    request.write("done\n")
    request.finish()


async def main():
    asked_to_end = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, asked_to_end.set)
    server = HTTPServer(handle_request)
    [sock] = bind_sockets(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    server.add_socket(sock)
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    await asked_to_end.wait()
    await server.drain(timeout=30, grace=0.1)


if __name__ == "__main__":
    asyncio.run(main())
