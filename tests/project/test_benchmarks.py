"""The parts of the benchmarks that decide what the published figures say."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import Served, answer, get

pytest.importorskip("benchmarks.rates", reason="the benchmarks are not here")

from benchmarks.compiling import program
from benchmarks.corpus import CORPUS
from benchmarks.goals import GOALS
from benchmarks.guard import BOUNDS, COUNTED
from benchmarks.parsers import PARSERS, check
from benchmarks.rates import choose_rate
from benchmarks.render import SECTIONS, fill
from benchmarks.root import ROOT
from benchmarks.shapes import SHAPES
from benchmarks.tables import rate_table
from fasthttpserver.httpserver import HTTPRequest


@pytest.mark.parametrize(
    ("capacities", "floor", "expected"),
    [
        ({"a": 100_000, "b": 50_000}, 0.1, (25_000, [])),
        ({"a": 100_000, "b": 50_000, "slow": 9_999}, 0.1, (25_000, ["slow"])),
        ({"a": 100_000, "b": 50_000, "slow": 10_000}, 0.1, (5_000, [])),
        ({"a": 47_000, "b": 6_100}, 0, (3_000, [])),
        ({"a": 49_625}, 0.1, (24_000, [])),
        ({"a": 3.2}, 0.1, (1, [])),
        ({"a": 0.5}, 0.1, (1, [])),
    ],
)
def test_the_rate_is_half_of_what_the_slowest_that_is_compared_can_do(
    capacities: dict[str, float], floor: float, expected: tuple[int, list[str]]
) -> None:
    assert choose_rate(capacities, floor) == expected


def result(**contenders: list[dict[str, float]]) -> dict[str, Any]:
    """A result file with these runs."""
    return {
        "contenders": {
            name: {"title": name.upper(), "kind": "peer", "runs": runs}
            for name, runs in contenders.items()
        },
        "too_slow": {},
        "behind": {},
    }


def run_at_rate(cpu_us: float) -> dict[str, float]:
    keys = ("user_ticks", "system_ticks", "p50_us", "p99_us", "p999_us")
    return {"paced_cpu_us": cpu_us, **{f"paced_{key}": 1000.0 for key in keys}}


def test_user_and_system_time_divide_the_median_by_the_ticks_of_all_rounds() -> None:
    ticks = [(3, 1), (0, 0), (3, 1)]
    runs = [
        {**run_at_rate(10), "paced_user_ticks": user, "paced_system_ticks": system}
        for user, system in ticks
    ]
    assert rate_table(result(a=runs)).splitlines()[2].split(" | ")[2:4] == ["7.5", "2.5"]


def test_a_table_at_a_rate_has_the_cheapest_first_with_medians_and_spread() -> None:
    table = rate_table(
        result(a=[run_at_rate(cpu) for cpu in (30, 10, 20)], b=[run_at_rate(5)])
    ).splitlines()
    assert [line.split(" | ")[:2] for line in table[2:]] == [
        ["| B", "5.00 (5.00 – 5.00)"],
        ["| A", "20.00 (10.00 – 30.00)"],
    ]


def test_a_table_at_a_rate_names_who_is_not_in_it_and_why() -> None:
    made = result(a=[run_at_rate(5)], b=[{"cpu_us": 9.0}], c=[run_at_rate(7)])
    made["too_slow"] = {"b": "can do 900"}
    made["behind"] = {"c": "answers 800"}  # in one round; it has figures of another
    note = rate_table(made).splitlines()[-1]
    assert note == "Too slow for this rate, in requests/s: B (can do 900)."


def test_a_page_is_filled_between_its_marks() -> None:
    page = "before\n<!-- x -->\nold\n<!-- /x -->\nafter\n"
    assert fill(page, "x", "new\n") == "before\n<!-- x -->\nnew\n<!-- /x -->\nafter\n"


@pytest.mark.parametrize("page", ["", "<!-- x -->\n", "<!-- /x -->\n"])
def test_a_page_without_marks_is_not_filled(page: str) -> None:
    with pytest.raises(ValueError, match="there is no <!-- x -->"):
        fill(page, "x", "new\n")


@pytest.mark.parametrize(
    ("page", "mark"), [("README.md", "benchmark-table"), ("benchmarks/README.md", "goals")]
)
def test_the_pages_have_their_marks(page: str, mark: str) -> None:
    assert "made" in fill((ROOT / page).read_text(encoding="utf-8"), mark, "made")


def test_every_shape_has_its_place_on_the_page() -> None:
    placed = [name for names in SECTIONS.values() for name in names]
    assert sorted(placed) == sorted(SHAPES)


def test_the_guard_counts_what_can_be_counted() -> None:
    for name, cases in COUNTED.items():
        assert all(PARSERS[name].measures(CORPUS[case], mode) for case, mode in cases)


def test_some_record_of_the_guard_bounds_everything_that_is_counted() -> None:
    records = json.loads(BOUNDS.read_text(encoding="utf-8")).values()
    most = max(len(record["bounds"]) for record in records)
    assert most == sum(map(len, COUNTED.values()))


@pytest.mark.parametrize("name", [name for name in PARSERS if "attributes" in PARSERS[name].modes])
def test_what_applications_ask_for_is_found(name: str) -> None:
    if reason := PARSERS[name].missing():
        pytest.skip(reason)
    check(name, CORPUS["attributes"])


def test_a_goal_without_figures_has_no_verdict() -> None:
    assert [verdict for goal in GOALS for verdict in goal.judge({})] == []


@pytest.mark.parametrize(("ours", "met"), [(11.0, True), (11.3, False)])
def test_a_goal_is_met_up_to_its_bound(ours: float, met: bool) -> None:
    small = result(**{"ours-uvloop": [run_at_rate(ours)], "limit-uvloop": [run_at_rate(10)]})
    small["contenders"]["ours-uvloop"]["kind"] = small["contenders"]["limit-uvloop"]["kind"] = "x"
    (verdict,) = GOALS[0].judge({"small": small})
    assert verdict.met == met
    assert verdict.measured == f"{ours / 10:.2f} × ({ours:.2f} beside 10.00)"


@pytest.fixture(scope="module")
def paced(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The program that offers requests at a rate."""
    if not Path("/proc/self").exists() or shutil.which("cc") is None:
        pytest.skip("it needs Linux and a C compiler")
    return str(program(ROOT / "benchmarks" / "paced.c", "paced"))


def offer(paced: str, served: Served, request: bytes, folder: Path) -> tuple[int, list[str]]:
    """Offer 40 requests in a fifth of a second on 3 connections, the first half to warm up."""
    (folder / "request").write_bytes(request)
    command = [paced, str(served.address[1]), "3", "200", "0.1", "0.1", str(folder / "request")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.returncode, done.stdout.splitlines()


@pytest.mark.parametrize("chunked", [False, True])
def test_requests_at_a_rate_are_counted_after_the_warm_up(
    chunked: bool, paced: str, tmp_path: Path, serve: Callable[..., Served]
) -> None:
    seen = []

    def callback(request: HTTPRequest) -> None:
        seen.append(request)
        if chunked:
            request.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            request.write(b"2\r\nok\r\n0\r\n\r\n")
            request.finish()
        else:
            answer(request)

    status, lines = offer(paced, serve(callback), get(), tmp_path)
    assert status == 0
    assert lines[0] == "{}"
    said = json.loads(lines[1])
    assert said["offered"] == 20
    assert said["requests"] in (20, 21)  # what is due at the very end of the warm-up
    assert said["p50_us"] <= said["p99_us"] <= said["p999_us"]
    assert len(seen) == 3 + 40  # one to begin with on each connection


def test_an_answer_that_is_no_success_ends_the_offer(
    paced: str, tmp_path: Path, serve: Callable[..., Served]
) -> None:
    def callback(request: HTTPRequest) -> None:
        request.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        request.finish()

    assert offer(paced, serve(callback), get(), tmp_path) == (1, ["an answer was no 200"])


def test_a_connection_that_is_closed_ends_the_offer(
    paced: str, tmp_path: Path, serve: Callable[..., Served]
) -> None:
    served = serve(answer)
    request = get("/", "Connection: close")
    assert offer(paced, served, request, tmp_path) == (1, ["a connection was closed"])
