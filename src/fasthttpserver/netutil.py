"""The names of ``tornado.netutil``."""

from fasthttpserver._net.netutil import (
    SSLOptions,
    add_accept_handler,
    bind_sockets,
    bind_unix_socket,
    check_ssl_options,
    is_valid_ip,
    ssl_options_to_context,
    ssl_wrap_socket,
)

__all__ = [
    "SSLOptions",
    "add_accept_handler",
    "bind_sockets",
    "bind_unix_socket",
    "check_ssl_options",
    "is_valid_ip",
    "ssl_options_to_context",
    "ssl_wrap_socket",
]
