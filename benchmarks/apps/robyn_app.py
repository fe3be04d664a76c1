"""robyn, a framework with a server in Rust."""

from robyn import Headers, Request, Response, Robyn

from benchmarks.apps.options import HELLO, HOST, LARGE, parse_options

NO_HEADERS = Headers({})


def respond(message: bytes) -> Response:
    return Response(status_code=200, headers=NO_HEADERS, description=message)


def hello(request: Request) -> Response:
    return respond(HELLO)


closing = hello


async def coroutine(request: Request) -> Response:
    return respond(HELLO)


def large(request: Request) -> Response:
    return respond(LARGE)


def body(request: Request) -> Response:
    return respond(b"%d" % len(request.body))


if __name__ == "__main__":
    options = parse_options()
    app = Robyn(__file__)
    handler = globals()[options.answer]
    app.get("/")(handler)
    app.get("/index.html")(handler)
    app.post("/submit")(handler)
    # Idle connections have to stay while they are counted.
    app.start(host=HOST, port=options.port, keep_alive_timeout=75)
