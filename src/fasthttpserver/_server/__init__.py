"""Connections, requests, responses and the server."""

__all__: list[str] = []
