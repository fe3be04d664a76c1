r"""A FastAPI application: a dependency, an upload, a stream, work after the answer, a WebSocket.

Run `pip install fastapi python-multipart websockets` and `python examples/fastapi_app.py`
(PORT=... for another port), then try
`curl -w '\n' http://127.0.0.1:8888/hello/you` and
`curl -w '\n' -F file=@README.md http://127.0.0.1:8888/upload`.
"""

import asyncio
import contextlib
import os
import signal
from typing import Annotated

from fastapi import BackgroundTasks, Depends, FastAPI, Request, UploadFile, WebSocket
from fastapi.responses import StreamingResponse

from fasthttpserver.asgi import ASGIContainer
from fasthttpserver.httpserver import HTTPServer


@contextlib.asynccontextmanager
async def lifespan(app):
    yield {"greetings": []}  # for instance a pool of connections


app = FastAPI(lifespan=lifespan)


async def greetings(request: Request):
    return request.state.greetings


async def remember(greetings, name):
    greetings.append(name)


@app.get("/hello/{name}")
async def hello(name: str, greetings: Annotated[list, Depends(greetings)], after: BackgroundTasks):
    after.add_task(remember, greetings, name)
    return {"hello": name, "before": list(greetings)}


@app.post("/upload")
async def upload(file: UploadFile):
    size = 0
    while piece := await file.read(65_536):
        size += len(piece)
    return {"name": file.filename, "size": size}


@app.get("/count")
async def count():
    return StreamingResponse((f"{number}\n" for number in range(1000)), media_type="text/plain")


@app.websocket("/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def main():
    asked_to_end = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, asked_to_end.set)
    async with ASGIContainer(app) as container:
        server = HTTPServer(container)
        server.listen(int(os.environ.get("PORT", "8888")), "127.0.0.1")
        print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", flush=True)
        await asked_to_end.wait()
        await server.drain(grace=0.1)


if __name__ == "__main__":
    asyncio.run(main())
