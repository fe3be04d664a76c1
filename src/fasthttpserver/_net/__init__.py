"""Loops, sockets, TLS, streams and processes: nothing here knows HTTP."""

__all__: list[str] = []
