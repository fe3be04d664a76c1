"""The door for ASGI applications: ``HTTPServer(ASGIContainer(application))``.

HTTP, WebSocket (with the package ``websockets``) and lifespan of ASGI 3.0.
"""

from fasthttpserver.asgi._container import ASGIContainer
from fasthttpserver.asgi._lifespan import LifespanError

__all__ = ["ASGIContainer", "LifespanError"]
