"""Counters in the text format that Prometheus reads."""

from fasthttpserver._server.exposition import CONTENT_TYPE, prometheus_text

__all__ = ["CONTENT_TYPE", "prometheus_text"]
