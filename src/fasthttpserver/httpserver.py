"""The names of ``tornado.httpserver``: change one word of an import and use them."""

from fasthttpserver._connection import HTTPConnection
from fasthttpserver._request import HTTPRequest
from fasthttpserver._server import HTTPServer

__all__ = ["HTTPConnection", "HTTPRequest", "HTTPServer"]
