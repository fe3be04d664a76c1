"""A callback HTTP/1.1 server: the API of Tornado 3's ``httpserver``, parsed by llhttp."""

from fasthttpserver._net.ioloop import IOLoop
from fasthttpserver._server.request import RequestCallback
from fasthttpserver.errors import HTTPInputError
from fasthttpserver.httpserver import HTTPConnection, HTTPRequest, HTTPServer
from fasthttpserver.httputil import HTTPHeaders

__all__ = [
    "HTTPConnection",
    "HTTPHeaders",
    "HTTPInputError",
    "HTTPRequest",
    "HTTPServer",
    "IOLoop",
    "RequestCallback",
]

__version__ = "0.1.0"
