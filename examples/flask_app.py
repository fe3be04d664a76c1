"""A Flask application: its views run in threads, and may take their time.

Run `pip install flask` and `python examples/flask_app.py` (PORT=... for another port), then try
`curl http://127.0.0.1:8888/hello/you` and `curl -F file=@README.md http://127.0.0.1:8888/upload`.
"""

import asyncio
import os
import signal

from flask import Flask, request

from fasthttpserver.httpserver import HTTPServer
from fasthttpserver.wsgi import WSGIContainer

app = Flask(__name__)


@app.get("/hello/<name>")
def hello(name):
    return f"Hello, {name}!\n"


@app.post("/upload")
def upload():
    file = request.files["file"]
    size = sum(len(line) for line in file.stream)
    return {"name": file.filename, "size": size}


@app.get("/count")
def count():
    def lines():
        for number in range(1000):
            yield f"{number}\n"

    return lines(), {"Content-Type": "text/plain"}


async def main():
    asked_to_end = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, asked_to_end.set)
    server = HTTPServer(WSGIContainer(app, threads=8))
    server.listen(int(os.environ.get("PORT", "8888")), "127.0.0.1")
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
    await asked_to_end.wait()
    await server.drain(grace=0.1)


if __name__ == "__main__":
    asyncio.run(main())
