"""An application of tornado.web, on Tornado's own server or on ours (``--server ours``)."""

import argparse
import logging

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from benchmarks.apps.options import HELLO, HOST, JSON, Options, parse_options


class Hello(RequestHandler):
    def get(self) -> None:
        self.write(HELLO)

    post = get


class Json(RequestHandler):
    def get(self) -> None:
        self.write(JSON)


class Echo(WebSocketHandler):
    async def on_message(self, message: str | bytes) -> None:
        await self.write_message(message, binary=True)


async def serve(options: Options, sockets: list) -> None:
    handler = {"json": Json, "echo": Echo}.get(options.answer, Hello)
    HTTPServer(Application([("/.*", handler)])).add_sockets(sockets)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--server", default="tornado")
    if parser.parse_known_args()[0].server == "ours":
        import fasthttpserver.tornado

        fasthttpserver.tornado.install()
    logging.getLogger("tornado.access").setLevel(logging.CRITICAL)  # as all contenders
    parsed = parse_options()
    parsed.run(serve(parsed, bind_sockets(parsed.port, HOST, backlog=4096)))
