"""Counters as text: Prometheus' exposition format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["CONTENT_TYPE", "Family", "Sample", "expose", "families_of", "prometheus_text"]

#: What to send as the Content-Type.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Sample(NamedTuple):
    """A number of a family; the name of some has a suffix."""

    labels: Mapping[str, str]
    number: float
    suffix: str = ""


class Family(NamedTuple):
    """Numbers of one name.

    Attributes:
        name: Without the prefix, and of a counter without its suffix.
        kind: ``counter``, ``gauge`` or ``histogram``.
        text: What it is, in a line.
        samples: Its numbers.
    """

    name: str
    kind: str
    text: str
    samples: Sequence[Sample]


def prometheus_text(stats: Mapping[str, Any]) -> str:
    """Return the counters of a server as Prometheus reads them.

    Args:
        stats: What ``HTTPServer.stats()`` returns.

    Returns:
        Text to be sent as UTF-8, with ``CONTENT_TYPE``.
    """
    return expose(families_of(stats))


def families_of(stats: Mapping[str, Any]) -> list[Family]:
    """Return what ``HTTPServer.stats()`` counts as families."""

    def counter(name: str, text: str, key: str | None = None) -> Family:
        return Family(name, "counter", text, [Sample({}, stats[key or name])])

    def counters(name: str, text: str, label: str) -> Family:
        samples = [Sample({label: str(value)}, count) for value, count in stats[name].items()]
        return Family(name, "counter", text, samples)

    connections = stats["connections"]
    resident = stats["resident_memory"]
    return [
        counter("requests", "Requests that were answered."),
        counters("responses", "Responses by class of status.", "status"),
        Family(
            "request_duration_seconds",
            "histogram",
            "From the end of a request's head to the end of its response.",
            _histogram(stats["durations"], stats["seconds"]),
        ),
        Family(
            "requests_in_flight",
            "gauge",
            "Requests without an answer.",
            [Sample({}, stats["in_flight"])],
        ),
        counter("requests_cut", "Requests whose connection was lost before the answer.", "cut"),
        Family(
            "connections",
            "gauge",
            "Open connections: with a request or a part of one, or idle.",
            [Sample({"state": state}, connections[state]) for state in ("active", "idle")],
        ),
        Family(
            "connections_accepted",
            "counter",
            "Connections that were accepted.",
            [Sample({}, connections["accepted"])],
        ),
        counters("refusals", "Requests that the server has refused, by status.", "status"),
        counters("timeouts", "Deadlines that have passed, by what was waited for.", "waiting"),
        counter("received_bytes", "Bytes of requests, without TLS.", "bytes_received"),
        counter("sent_bytes", "Bytes of responses, without TLS.", "bytes_sent"),
        counter("tls_handshake_failures", "TLS handshakes that did not end well."),
        counter("refused_connections", "Connections that were closed as proxy_protocol demands."),
        counter("evictions", "Idle connections that were closed to make room."),
        counter("aborts", "Connections that were closed at once."),
        Family(
            "start_time_seconds",
            "gauge",
            "Start time in seconds since the epoch.",
            [Sample({}, stats["started"])],
        ),
        Family(
            "resident_memory_bytes",
            "gauge",
            "Memory of the process, or of all workers.",
            [] if resident is None else [Sample({}, resident)],
        ),
    ]


def _histogram(classes: Mapping[str, int], total: float) -> list[Sample]:
    samples: list[Sample] = []
    count = 0
    for bound, number in classes.items():
        count += number
        labels = {"le": "+Inf" if bound == "inf" else bound}
        samples.append(Sample(labels, count, "_bucket"))
    return [*samples, Sample({}, total, "_sum"), Sample({}, count, "_count")]


def expose(families: Iterable[Family]) -> str:
    """Return families as text; those without a number only say what they are."""
    lines: list[str] = []
    for family in families:
        suffix = "_total" if family.kind == "counter" else ""
        name = f"fasthttpserver_{family.name}{suffix}"
        lines.append(f"# HELP {name} {_escape(family.text)}")
        lines.append(f"# TYPE {name} {family.kind}")
        lines += [_line(name, sample) for sample in family.samples]
    return "\n".join(lines) + "\n"


def _line(name: str, sample: Sample) -> str:
    pairs = [f'{label}="{_escape_value(value)}"' for label, value in sample.labels.items()]
    labels = f"{{{','.join(pairs)}}}" if pairs else ""
    return f"{name}{sample.suffix}{labels} {sample.number!r}"


def _escape(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _escape_value(text: str) -> str:
    return _escape(text).replace('"', r"\"")
