"""Counters as Prometheus reads them, with its own client for a judge."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from helpers import answer, get
from prometheus_client.parser import text_string_to_metric_families
from wire import Wire

from fasthttpserver import HTTPRequest, HTTPServer
from fasthttpserver._server.exposition import Family, Sample, expose
from fasthttpserver.metrics import CONTENT_TYPE, prometheus_text


def read(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Names with their labels, and the numbers."""
    found: dict[Any, float] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("counter", "gauge", "histogram")
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def test_prometheus_reads_what_a_server_counts(wire: Callable[..., Wire]) -> None:
    end = wire(answer)
    end.send(get())
    end.send(get())
    end.send(b"@")
    found = read(prometheus_text(end.server.stats()))
    prefix = "fasthttpserver_"
    expected = {
        ("requests_total", ()): 2,
        ("responses_total", (("status", "2xx"),)): 2,
        ("responses_total", (("status", "5xx"),)): 0,
        ("request_duration_seconds_bucket", (("le", "+Inf"),)): 2,
        ("request_duration_seconds_count", ()): 2,
        ("connections_accepted_total", ()): 1,
        ("requests_in_flight", ()): 0,
        ("refusals_total", (("status", "400"),)): 1,
        ("received_bytes_total", ()): 2 * len(get()) + 1,
        ("sent_bytes_total", ()): len(end.transport.taken),
        ("start_time_seconds", ()): end.server.stats()["started"],
    }
    assert {(name, labels): found[prefix + name, labels] for name, labels in expected} == expected
    assert found[prefix + "request_duration_seconds_sum", ()] > 0
    assert found[prefix + "resident_memory_bytes", ()] > 1_000_000


def test_buckets_of_the_histogram_add_up(wire: Callable[..., Wire]) -> None:
    seconds = iter((0.001, 0.02, 0.02, 3.0, 60.0))

    def late(request: HTTPRequest) -> None:
        request.start_time -= next(seconds)
        answer(request)

    end = wire(late)
    end.send(get() * 5)
    found = read(prometheus_text(end.server.stats()))
    name = "fasthttpserver_request_duration_seconds_bucket"
    buckets = [
        (dict(labels)["le"], count) for (each, labels), count in found.items() if each == name
    ]
    assert [count for _, count in buckets] == [1, 1, 3, 3, 3, 3, 3, 3, 3, 4, 4, 5]
    assert buckets[-1][0] == "+Inf"
    assert [float(bound) for bound, _ in buckets] == sorted(float(bound) for bound, _ in buckets)


def test_callback_can_serve_them(wire: Callable[..., Wire]) -> None:
    def metrics(request: HTTPRequest) -> None:
        body = prometheus_text(end.server.stats()).encode()
        request.connection.respond(("", 200, "OK"), {"Content-Type": CONTENT_TYPE}, body)

    end = wire(metrics)
    end.send(get("/metrics"))
    _, _, body = end.transport.taken.partition(b"\r\n\r\n")
    assert read(body.decode())["fasthttpserver_requests_in_flight", ()] == 1


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\nb", "\\n", "{}", "ä"])
def test_every_label_and_text_can_be_read_back(value: str) -> None:
    text = expose([Family("x", "gauge", value, [Sample({"label": value}, 1.5)])])
    (family,) = text_string_to_metric_families(text)
    assert family.documentation == value
    (sample,) = family.samples
    assert (sample.labels, sample.value) == ({"label": value}, 1.5)


def test_family_without_a_number_is_named() -> None:
    text = prometheus_text(HTTPServer(answer).stats())
    assert "# TYPE fasthttpserver_timeouts_total counter\n# HELP" in text
