"""Where records go."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fasthttpserver.log import access_log, app_log, gen_log, redirect


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append((record.name, record.getMessage()))


@pytest.fixture
def kept() -> Iterator[Kept]:
    """What the root logger gets."""
    handler = Kept()
    logging.getLogger().addHandler(handler)
    yield handler
    logging.getLogger().removeHandler(handler)
    redirect(None)


def test_records_go_to_the_loggers_of_another_prefix(kept: Kept) -> None:
    redirect("other")
    redirect("another")  # the last one counts
    for logger in access_log, app_log, gen_log:
        logger.error("%s", 1)
    names = ["another.access", "another.application", "another.general"]
    assert kept.records == [(name, "1") for name in names]
    redirect(None)
    gen_log.error("2")
    assert kept.records[3:] == [("fasthttpserver.general", "2")]


def test_levels_and_filters_of_the_other_logger_count(kept: Kept) -> None:
    other = logging.getLogger("another.general")
    redirect("another")
    gen_log.info("not wanted")
    other.setLevel(logging.INFO)
    gen_log.info("wanted")
    other.addFilter(lambda record: record.getMessage() != "filtered")
    gen_log.info("filtered")
    assert kept.records == [("another.general", "wanted")]
    other.setLevel(logging.NOTSET)
    other.filters.clear()
