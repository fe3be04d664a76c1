"""How long it is waited before a process that failed is started again."""

from __future__ import annotations

import pytest

from fasthttpserver._net.backoff import Backoff


def test_pause_doubles_with_each_failure_and_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    backoff = Backoff()
    assert [backoff.failed() for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert [backoff.failed() for _ in range(4)][-1] == 5.0
    assert len(backoff) == 8
    assert backoff.failed(lifetime=1.0) == 0.0
    now += 61
    assert len(backoff) == 0
    assert backoff.failed() == 0.1
    backoff.reset()
    assert len(backoff) == 0
