"""WSGI applications (PEP 3333): ``HTTPServer(WSGIContainer(app))`` serves one."""

from fasthttpserver.wsgi._container import WSGIContainer

__all__ = ["WSGIContainer"]
