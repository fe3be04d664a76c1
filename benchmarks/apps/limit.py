"""The limit: an asyncio Protocol that answers a constant and parses nothing."""

import asyncio

from benchmarks.apps.options import HELLO, HOST, LARGE, Options, parse_options

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
HELLO_RESPONSE = HEAD % len(HELLO) + HELLO
LARGE_RESPONSE = HEAD % len(LARGE) + LARGE
CLOSING_RESPONSE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 13\r\n\r\n" + HELLO


class Hello(asyncio.Protocol):
    """Answer each read, for requests that arrive one by one and in one piece."""

    response = HELLO_RESPONSE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(self.response)


class Large(Hello):
    """The same with 64 KiB."""

    response = LARGE_RESPONSE


class Closing(Hello):
    """Close after the answer."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(CLOSING_RESPONSE)
        self.transport.close()


class Counted(Hello):
    """Answer every so many bytes: pipelined requests, and those that come in pieces."""

    size = 1
    received = 0

    def data_received(self, data: bytes) -> None:
        count, self.received = divmod(self.received + len(data), self.size)
        if count:
            self.transport.write(HELLO_RESPONSE * count)


PROTOCOLS = {"hello": Hello, "large": Large, "closing": Closing}


async def serve(options: Options) -> None:
    protocol = PROTOCOLS.get(options.answer, Hello)
    if options.request_size:
        protocol = Counted
        Counted.size = options.request_size
    loop = asyncio.get_running_loop()
    await loop.create_server(protocol, HOST, options.port, ssl=options.tls_context, backlog=4096)


if __name__ == "__main__":
    parsed = parse_options()
    parsed.run(serve(parsed))
