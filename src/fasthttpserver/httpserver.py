"""The names of ``tornado.httpserver``: change one word of an import and use them."""

from fasthttpserver._server.connection import HTTPConnection
from fasthttpserver._server.request import HTTPRequest
from fasthttpserver._server.server import HTTPServer

__all__ = ["HTTPConnection", "HTTPRequest", "HTTPServer"]
