"""The parser of requests, without a connection: bytes in, messages out.

For tools, for servers of another kind, and for those who look for faults in it;
``fasthttpserver.testing`` makes requests to give it.
"""

from fasthttpserver._parser import (
    END_OF_MESSAGE,
    EndOfMessage,
    RequestMessage,
    RequestParser,
)

__all__ = ["END_OF_MESSAGE", "EndOfMessage", "RequestMessage", "RequestParser"]
