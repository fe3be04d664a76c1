"""Measures servers; writes a JSON file for each shape.

Each contender is started anew for each of its turns, so that what differs between two
processes (hash seeds, addresses) is part of the spread.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import trustme

from benchmarks.contenders import CONTENDERS, DEBIAN_PACKAGES, Contender
from benchmarks.corpus import with_body
from benchmarks.load import (
    Load,
    check_answer,
    echo,
    hold_idle,
    paced,
    transfer,
    wrk,
    wrk_steady,
)
from benchmarks.lock import alone
from benchmarks.rates import choose_rate
from benchmarks.results import RESULTS, ResultFile, median
from benchmarks.servers import Server, ServerFailed, TooSlow, free_port
from benchmarks.shapes import IDLE_RATE, QUICK_CONTENDERS, QUICK_SHAPES, SHAPES, Point, Shape

__all__ = ["main"]

_WARM_UP = 0.2
# What a turn takes beside its runs: the start of the server, the check of its answer, its end.
_AROUND = 0.4
# Of ``--seconds``, for a run at saturation where the one at an equal rate is what counts.
_BESIDE = 0.5


@dataclass
class Bench:
    """What all shapes of one run share."""

    load: Load
    server_cpu: int
    load_cpu: int
    rounds: int
    seconds: float
    rate: float | None
    folder: Path

    def server_cpus(self, processes: int) -> set[int]:
        """The cores of a server: as many as processes, without the generator's if possible."""
        cpus = sorted(os.sched_getaffinity(0), key=lambda cpu: (cpu == self.load_cpu, cpu))
        cpus.remove(self.server_cpu)
        return {self.server_cpu, *cpus[: processes - 1]}

    def rounds_of(self, shape: Shape) -> int:
        """How many rounds a shape has."""
        return min(self.rounds, shape.rounds or self.rounds)

    def duration(self, shape: Shape, chosen: list[str]) -> float:
        """About how many seconds a shape takes."""
        run = self.seconds * shape.weight
        steady = 1.1 if shape.kind == "steady" else 0.0
        if shape.paced:
            first = _AROUND + _WARM_UP + run * _BESIDE + steady
            turns = first + self.rounds * (first + _WARM_UP + run)
        elif shape.kind == "idle":
            turns = _AROUND + 8 + 2 * run
        else:
            turns = self.rounds * (_AROUND + len(shape.points) * (_WARM_UP + run + steady))
        return turns * sum(name in chosen for name in shape.contenders)

    def settings(self, shape: Shape, chosen: list[str]) -> dict[str, Any]:
        """What decides about the figures, for the result file."""
        return {
            "contenders": [name for name in shape.contenders if name in chosen],
            "rounds": self.rounds_of(shape),
            "seconds": self.seconds * shape.weight,
            "connections": self.load.connections,
            "server_cpu": self.server_cpu,
            "load_cpu": self.load_cpu,
            "rate": self.rate,  # None: what the contenders decide
        }


def measure(
    bench: Bench, shape: Shape, contender: Contender, rate: float | None
) -> Iterator[dict[str, Any]]:
    """Give one contender its turn: one run for each point.

    Args:
        bench: What all shapes share.
        shape: What is measured.
        contender: With whom.
        rate: To be asked so often too, as well as at saturation.
    """
    load = replace(bench.load, tls=shape.tls)
    running: Server | None = None
    started_for: dict[str, object] = {}
    with ExitStack() as stack:
        for point in shape.points:
            arguments = _arguments(bench, shape, contender, point)
            if running is None or arguments != started_for:
                stack.close()
                port = free_port()
                command = contender.command({"port": port, **arguments})
                cpus = bench.server_cpus(point.processes)
                running = stack.enter_context(Server(command, port, cpus, bench.folder))
                started_for = arguments
                asked = point
                if shape.kind == "upload" and contender.kind != "limit":
                    # A large one would leave its memory to the one that is measured.
                    asked = replace(point, request=with_body(1024))
                if shape.kind not in ("echo", "download"):  # their clients look at what they get
                    check_answer(running, load, asked.request, shape.expected(contender, asked))
                if shape.needs_wrk:
                    with suppress(ServerFailed):  # too slow to answer in so short a time
                        wrk(running, load, point.request, _WARM_UP)
            figures = {}
            if rate is not None:
                seconds = bench.seconds * shape.weight
                at_rate = paced(running, load, point.request, rate, _WARM_UP, seconds)
                figures = {f"paced_{key}": value for key, value in at_rate.items()}
            yield {"x": point.x, **figures, **_run(bench, shape, point, running, load)}


def _run(bench: Bench, shape: Shape, point: Point, server: Server, load: Load) -> dict[str, Any]:
    load = replace(load, connections=point.connections or load.connections)
    seconds = bench.seconds * shape.weight
    if shape.kind in ("upload", "download"):
        return transfer(shape.kind, server, load, shape.size)
    if shape.kind == "idle":
        return hold_idle(server, load, point.request, shape.size, IDLE_RATE, seconds)
    if shape.kind == "echo":
        return echo(server, load, seconds)
    generator = wrk_steady if shape.kind == "steady" else wrk
    return generator(server, load, point.request, seconds * (_BESIDE if shape.paced else 1.0))


def _arguments(bench: Bench, shape: Shape, contender: Contender, point: Point) -> dict[str, object]:
    """Command line options of a server, but for the port."""
    arguments: dict[str, object] = {"answer": shape.answer, "processes": point.processes}
    if shape.tls:
        arguments["certificate"] = bench.folder / "certificate.pem"
        arguments["key"] = bench.folder / "key.pem"
    # The limit does not parse, so it is told where a request ends if a read does not say it.
    in_pieces = point.request.count > 1 or shape.answer == "body"
    if contender.kind == "limit" and in_pieces:
        arguments["request-size"] = point.request.size
    return arguments


def run_shape(bench: Bench, name: str, chosen: list[str], path: Path, resume: bool) -> None:
    """Measure one shape with all contenders, taking turns, and write its file."""
    shape = SHAPES[name]
    about = {"title": shape.title, "kind": shape.kind, "axis": shape.axis}
    file = ResultFile(path, {**about, "settings": bench.settings(shape, chosen)})
    if resume and file.is_done():
        print(f"{name}: done before, see {path}")
        return
    names = []
    for contender_name in shape.contenders:
        contender = CONTENDERS[contender_name]
        reason = contender.lacking(shape.features) or contender.missing()
        if contender_name not in chosen:
            reason = "not chosen"
        if reason is None:
            names.append(contender_name)
        else:
            file.leave_out(contender_name, reason)
            if reason != "not chosen":
                print(f"{name}: {contender_name} is left out: {reason}")
    rounds = bench.rounds_of(shape)
    failures: Counter[str] = Counter()
    if shape.paced:
        _run_round(bench, name, names, file, f"0/{rounds}", failures)
        _choose_rate(bench, shape, names, file)
    for turn in range(rounds):
        # Back and forth, so that a drift of the machine does not favour the first.
        order = names if turn % 2 == 0 else names[::-1]
        _run_round(bench, name, order, file, f"{turn + 1}/{rounds}", failures)
        file.write(complete=turn + 1 == rounds)


def _choose_rate(bench: Bench, shape: Shape, names: list[str], file: ResultFile) -> None:
    """Decide from a round at saturation how often all contenders are asked."""
    known = {name: median(file.data, name, "requests_per_second") for name in names}
    capacities = {name: value for name, value in known.items() if value is not None}
    if not capacities:
        return
    rate: float
    rate, slow = choose_rate(capacities, shape.floor)
    if bench.rate is not None:
        rate, slow = bench.rate, [n for n, most in capacities.items() if most < bench.rate]
    file.data["rate"] = rate
    file.data["too_slow"] = {name: f"can do {capacities[name]:,.0f}" for name in slow}
    print(f"all are asked for {rate:,.0f} requests/s, but for {', '.join(slow) or 'none'}")


def _run_round(
    bench: Bench,
    name: str,
    names: list[str],
    file: ResultFile,
    turn: str,
    failures: Counter[str],
) -> None:
    """Give each contender one turn; one that fails does not stop the others.

    One that has failed twice and never worked gets no more turns.
    """
    shape = SHAPES[name]
    for contender_name in names:
        if failures[contender_name] > 1 and not file.has_runs(contender_name):
            continue
        contender = CONTENDERS[contender_name]
        rate = None if contender_name in file.data["too_slow"] else file.data["rate"]
        described = {"title": contender.title, "kind": contender.kind}
        label = f"{name} {turn} {contender_name:15}"
        try:
            for run in measure(bench, shape, contender, rate):
                file.add(contender_name, described, {"round": turn, **run})
                print(label, _summary(shape, run), flush=True)
        except TooSlow as error:
            file.data["behind"][contender_name] = str(error)  # the next round may do better
            print(f"{label} {error}", flush=True)
        except (ServerFailed, OSError, ValueError, subprocess.SubprocessError) as error:
            failures[contender_name] += 1
            file.leave_out(contender_name, f"round {turn}: {error}")
            print(f"{label} FAILED: {error}", flush=True)


def _summary(shape: Shape, run: dict[str, Any]) -> str:
    where = f"{run['x']:>8} {shape.axis}: " if shape.axis else ""
    if shape.kind in ("upload", "download"):
        return f"{run['mib_per_second']:9.0f} MiB/s, peak {run['peak_kib'] / 1024:.0f} MiB"
    if shape.kind == "idle":
        return (
            f"{run['kib_per_connection']:9.2f} KiB/connection, "
            f"{run['idle_core_percent']:.2f} % of a core, {run.get('cpu_us', 0):.2f} µs beside them"
        )
    at_rate = f"at the rate {run['paced_cpu_us']:6.2f} µs; " if "paced_cpu_us" in run else ""
    slow = f", p99 {run['p99_us'] / 1000:.2f} ms" if "p99_us" in run else ""
    errors = f", {run['errors']} errors" if run["errors"] else ""
    most = f"{run['requests_per_second']:9.0f}/s, {run['cpu_us']:8.2f} µs CPU"
    return f"{where}{at_rate}{most}{slow}{errors}"


def _write_certificate(folder: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    for pem in certificate.cert_chain_pems:
        pem.write_to_path(folder / "certificate.pem", append=True)


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    cpus = sorted(os.sched_getaffinity(0))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_server", description=__doc__)
    parser.add_argument("--shapes", type=_names, help="comma-separated; default: all")
    parser.add_argument("--contenders", type=_names, help="comma-separated; default: all")
    parser.add_argument("--without", type=_names, default=[], help="contenders, comma-separated")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, help="of one run; 0.7, or 0.4 with --quick")
    parser.add_argument("--rate", type=float, help="requests/s, in the place of half the slowest")
    parser.add_argument("--connections", type=int, default=64, help="default: %(default)s")
    parser.add_argument("--server-cpu", type=int, default=cpus[0], help="core, %(default)s")
    parser.add_argument("--load-cpu", type=int, default=cpus[-1], help="core, %(default)s")
    parser.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--resume", action="store_true", help="keep shapes that are complete")
    parser.add_argument("--quick", action="store_true", help="few shapes, few contenders")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    options = parser.parse_args(arguments)
    options.shapes = options.shapes or list(QUICK_SHAPES if options.quick else SHAPES)
    options.contenders = options.contenders or list(
        QUICK_CONTENDERS if options.quick else CONTENDERS
    )
    left_out = {*options.without}
    if options.seconds is None:
        options.seconds = 0.4 if options.quick else 0.7
    unknown = {*options.shapes} - {*SHAPES} | ({*options.contenders} | left_out) - {*CONTENDERS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; --list prints the names")
    options.contenders = [name for name in options.contenders if name not in left_out]
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parse(arguments)
    if options.list:
        for kind, table in (("shapes", SHAPES), ("contenders", CONTENDERS)):
            print(
                f"{kind}:", *(f"  {name:18} {item.title}" for name, item in table.items()), sep="\n"
            )
        return 0
    if shutil.which("wrk") is None:
        print(
            f"wrk is not installed (Debian package {DEBIAN_PACKAGES['wrk']}): left out is "
            "what it measures"
        )
        options.shapes = [name for name in options.shapes if not SHAPES[name].needs_wrk]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # servers are stopped then
    start = time.monotonic()
    with alone(), tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # nginx's workers give up their privileges
        _write_certificate(folder)
        load = Load({options.load_cpu}, options.connections, False, folder)
        bench = Bench(
            load,
            options.server_cpu,
            options.load_cpu,
            options.rounds,
            options.seconds,
            options.rate,
            folder,
        )
        left = sum(bench.duration(SHAPES[name], options.contenders) for name in options.shapes)
        print(f"about {left / 60:.0f} minutes")
        for number, shape in enumerate(options.shapes, 1):
            minutes = (time.monotonic() - start) / 60
            title = SHAPES[shape].title
            print(f"--- {number}/{len(options.shapes)} {title} (after {minutes:.1f} min)")
            path = options.output / f"{shape}.json"
            run_shape(bench, shape, options.contenders, path, options.resume)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted; --resume goes on after the last complete shape")
