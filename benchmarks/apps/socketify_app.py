"""socketify, uWebSockets from Python."""

from typing import Any

from socketify import App, AppListenOptions, AppOptions

from benchmarks.apps.options import HELLO, HOST, LARGE, parse_options


def hello(response: Any, request: Any) -> None:
    response.end(HELLO)


def closing(response: Any, request: Any) -> None:
    response.write_header("Connection", "close")  # it does not say so by itself
    response.end(HELLO, end_connection=True)


def large(response: Any, request: Any) -> None:
    response.end(LARGE)


def body(response: Any, request: Any) -> None:
    # Not response.get_data(): under load it ends the process (a handle is used after its end).
    received = bytearray()

    def on_data(response: Any, chunk: bytes | None, is_end: bool) -> None:
        received.extend(chunk or b"")
        if is_end:
            response.end(b"%d" % len(received))

    response.on_data(on_data)


if __name__ == "__main__":
    options = parse_options()
    tls = AppOptions(options.key, options.certificate) if options.certificate else None
    app = App(tls)
    app.any("/*", globals()[options.answer])
    app.listen(AppListenOptions(port=options.port, host=HOST), lambda config: None)
    app.run()
