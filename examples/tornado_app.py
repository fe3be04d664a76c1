"""An application of Tornado 6, its WebSocket included, on this server.

Run `pip install tornado` and `python examples/tornado_app.py` (PORT=... for another port), then
try `curl 'http://127.0.0.1:8888/?name=Ada'`. Only the two lines about `fasthttpserver` are not
Tornado's.
"""

import asyncio
import contextlib
import os

import tornado.web
import tornado.websocket

import fasthttpserver.tornado

fasthttpserver.tornado.install()


class Hello(tornado.web.RequestHandler):
    def get(self):
        self.write(f"Hello, {self.get_argument('name', 'you')}\n")


class Echo(tornado.websocket.WebSocketHandler):
    def get_compression_options(self):
        return {}

    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))


async def main():
    application = tornado.web.Application([("/", Hello), ("/echo", Echo)])
    server = application.listen(int(os.environ.get("PORT", 8888)), "127.0.0.1")
    (sock,) = server.engine.sockets
    print(f"http://127.0.0.1:{sock.getsockname()[1]}/", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):  # Ctrl-C
        asyncio.run(main())
