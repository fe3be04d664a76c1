"""The manifests of docs/howto: their options are ours, and their times and sizes add up."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from fasthttpserver._cli import supervisor
from fasthttpserver._cli.options import parse_options

HOWTO = Path(__file__).resolve().parents[2] / "docs" / "howto"
UNITS = {"Mi": 1 << 20, "m": 1 << 20}


def text_of(page: str) -> str:
    return (HOWTO / page).read_text(encoding="utf-8")


def manifests(page: str) -> list[Any]:
    """The documents of the YAML block of a page."""
    (block,) = re.findall(r"<!-- manifests -->\n```yaml\n(.*?)^```$", text_of(page), re.S | re.M)
    return list(yaml.safe_load_all(block))


def parse(arguments: list[str]) -> argparse.Namespace:
    """What the command line makes of these; a wrong one ends the test."""
    return parse_options(arguments, "0", {})


def time_to_end(options: argparse.Namespace) -> float:
    """Seconds after which no worker is left, at the most."""
    times = (options.shutdown_delay, options.drain_timeout, supervisor._END_MARGIN)
    return float(sum(times))


def memory_of(options: argparse.Namespace) -> int:
    """Bytes, at the most: one worker more may be there, and supervisor and admin process are."""
    return int((options.processes + 1) * options.max_rss) + size("100Mi")


def size(text: str) -> int:
    match = re.fullmatch(r"(\d+)(\w+)", text)
    assert match is not None
    return int(match[1]) * UNITS[match[2]]


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def option_names() -> set[str]:
    """Of all options of the command line."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        parse(["--help"])
    return set(re.findall(r"--[a-z-]+", said.getvalue()))


@pytest.fixture
def deployment() -> Any:
    return manifests("kubernetes.md")[0]


@pytest.fixture
def container(deployment: Any) -> Any:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


@pytest.fixture
def options(container: Any) -> argparse.Namespace:
    assert container["command"] == ["fasthttpserver"]
    return parse(container["args"])


def test_manifests_refer_to_each_other(deployment: Any) -> None:
    _, service, budget = manifests("kubernetes.md")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        service["spec"]["selector"],
        budget["spec"]["selector"]["matchLabels"],
    ):
        assert selector == labels
    assert budget["spec"]["minAvailable"] < deployment["spec"]["replicas"]


def test_pod_has_the_time_that_its_server_takes_to_end(
    deployment: Any, options: argparse.Namespace
) -> None:
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    assert grace > time_to_end(options)
    assert options.shutdown_delay > 0


def test_times_in_the_table_are_those_of_the_manifest(
    deployment: Any, options: argparse.Namespace
) -> None:
    times = [int(each) for each in re.findall(r"^\| (\d+) \|", text_of("kubernetes.md"), re.M)]
    grace = deployment["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    closed = options.shutdown_delay
    assert times == [0, closed, closed + options.drain_timeout, time_to_end(options), grace]


def test_ports_are_those_that_the_server_listens_on(
    deployment: Any, container: Any, options: argparse.Namespace
) -> None:
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"http": options.port, "admin": port_of(options.admin)}
    for name in "startupProbe", "readinessProbe", "livenessProbe":
        assert container[name]["httpGet"]["port"] == "admin"
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(ports["admin"])
    service = manifests("kubernetes.md")[1]
    assert [each["targetPort"] for each in service["spec"]["ports"]] == ["http"]


def test_workers_are_replaced_before_the_memory_is_at_its_limit(
    container: Any, options: argparse.Namespace
) -> None:
    limit = size(container["resources"]["limits"]["memory"])
    assert memory_of(options) < limit
    assert container["resources"]["requests"]["cpu"] == str(options.processes)


def test_container_ends_in_the_time_that_it_has_and_has_the_memory_that_it_needs() -> None:
    (command,) = re.findall(r"^CMD (\[.*\])$", text_of("containers.md"), re.M)
    program, *arguments = json.loads(command)
    assert program == "fasthttpserver"
    options = parse(arguments)
    (compose,) = manifests("containers.md")
    app = compose["services"]["app"]
    assert int(app["stop_grace_period"].removesuffix("s")) > time_to_end(options)
    assert memory_of(options) < size(app["mem_limit"])
    assert app["ports"] == [f"{options.port}:{options.port}"]
    (check,) = re.findall(r"http://(\S+)/healthz", text_of("containers.md"))
    assert check == options.admin


@pytest.mark.parametrize(
    "page", ["kubernetes.md", "containers.md", "haproxy.md", "graceful-shutdown.md"]
)
def test_options_in_the_text_are_ours(page: str) -> None:
    docker = {"--init", "--cpus"}
    assert set(re.findall(r"`(--[a-z-]+)", text_of(page))) <= option_names() | docker


def test_command_beside_haproxy_is_one() -> None:
    (command,) = re.findall(r"^fasthttpserver (.* --admin .*)$", text_of("haproxy.md"), re.M)
    options = parse(shlex.split(command))
    check = r"timeout check (\d+)s\n.* port (\d+) inter (\d+)s fall (\d+)"
    ((answer, port, interval, fall),) = re.findall(check, text_of("haproxy.md"))
    assert options.shutdown_delay > int(fall) * (int(interval) + int(answer))
    assert port_of(options.admin) == int(port)
