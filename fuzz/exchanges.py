"""A randomised, stateful test of a running server, over real sockets.

Many clients at once run random programs (``exchanges_programs.py``): what they send, in which
pieces, how they read, when they disconnect. Each request has an id of its own and says how it wants
to be answered (``exchanges_app.py``, in a process of its own). A checker that shares no code
with the server compares every byte (``exchanges_client.py``). At the end of a round the server
drains, with requests under way, and tells what it saw and what is left.

A fault is printed with its program and with the command that runs that program again.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import ssl
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme
from exchanges_app import HOST
from exchanges_client import Client, Fault
from exchanges_programs import Program, make_program

# Kinds of loops, and whether the server speaks TLS; a round has one of these.
SERVERS = [(loop, tls) for loop in ("asyncio", "uvloop") for tls in (False, True)]
CLIENTS = 24
ROUND = 15.0  # seconds
SHOWN_FAULTS = 20
SERVER_PATIENCE = 60  # seconds for it to drain and to end


@dataclass
class Outcome:
    """What became of a program, for what the server tells at the end."""

    program: Program
    answered: int


@dataclass
class Found:
    """A fault: what, and how to see it again."""

    symptom: str
    program: Program | None
    command: str

    def __str__(self) -> str:
        lines = [f"FAULT: {self.symptom}"]
        if self.program is not None:
            lines.append(f"{self.program}")
        return "\n".join([*lines, f"  again: {self.command}"])


class Round:
    """Many clients of one server, which drains at the end.

    Args:
        seed: Of all programs.
        loop: The server's kind of loop.
        tls: Whether it speaks TLS.
        folder: Where the certificates are, see ``make_certificates``, and the report is put.
        quick: Make no programs that take seconds.
    """

    def __init__(self, seed: str, loop: str, tls: bool, folder: Path, quick: bool = False) -> None:
        self.seed = seed
        self.loop = loop
        self.tls = tls
        self.found: list[Found] = []
        self.counts: Counter[str] = Counter()
        self._quick = quick
        self._draining = False
        self._outcomes: list[Outcome] = []
        self._files = [str(folder / name) for name in ("server.crt", "server.key")] if tls else []
        self._report_file = folder / "report.json"
        self._context: ssl.SSLContext | None = None
        if tls:
            self._context = ssl.create_default_context(cafile=folder / "ca.crt")
        self._port = 0

    async def run(
        self, clients: int, programs: int = 1 << 40, seconds: float = 1e9, only: str = ""
    ) -> None:
        """Run so many programs on each client, or for so long; then drain.

        Args:
            only: Run only the program of this name, in all places.
        """
        send_buffer = random.Random(self.seed).choice([0, 16_384, 65_536])
        app = Path(__file__).with_name("exchanges_app.py")
        arguments = [self.loop, str(self._report_file), str(send_buffer), *self._files]
        # Not asyncio's: its thread that waits for the process may outlive the loop.
        with subprocess.Popen(
            [sys.executable, "-W", "error", str(app), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as server:
            try:
                await self._talk(server, clients, programs, seconds, only)
            finally:
                server.kill()

    async def _talk(
        self,
        server: subprocess.Popen[bytes],
        clients: int,
        programs: int,
        seconds: float,
        only: str,
    ) -> None:
        assert server.stdin is not None and server.stdout is not None
        self._port = int(await asyncio.to_thread(server.stdout.readline))
        end = time.monotonic() + seconds
        many = asyncio.Event()  # the last programs meet the drain

        async def client(number: int) -> None:
            try:
                for count in range(programs):
                    if time.monotonic() > end or self._draining:
                        break
                    await self._run(only or f"{number}:{count}", count if only else 0)
                    if self.counts["programs"] >= clients * programs * 0.9:
                        many.set()
            finally:
                many.set()

        tasks = [asyncio.create_task(client(number)) for number in range(clients)]
        await many.wait()
        self._draining = True
        server.stdin.write(b"\n")
        server.stdin.flush()
        await asyncio.gather(*tasks)
        status = None
        with contextlib.suppress(subprocess.TimeoutExpired):
            status = await asyncio.to_thread(server.wait, SERVER_PATIENCE)
        if status != 0:
            self._report(f"the server ended with {status}")
        else:
            self.check(json.loads(self._report_file.read_text()), self._outcomes)

    async def _run(self, name: str, run: int) -> None:
        program = make_program(self.seed, name, self.tls, run, self._quick)
        client = Client(program, self._port, self._context, lambda: self._draining)
        self.counts["programs"] += 1
        try:
            await client.run()
            self._outcomes.append(Outcome(program, client.answers.answered))
        except Fault as fault:
            self._report(str(fault), program)
        except OSError as error:
            # Of what comes while the server drains the listening socket is closed.
            if not self._draining and not program.leaves:
                self._report(f"the client failed: {error!r}", program)
        self.counts["exchanges"] += client.answers.answered
        self.counts["bytes"] += client.answers.received

    def _report(self, symptom: str, program: Program | None = None) -> None:
        self.counts["faults"] += 1
        command = f"fuzz/exchanges.py --seed {self.seed} --loop {self.loop}"
        command += " --tls" if self.tls else " --plain"
        if program is not None:
            command += f" --program {program.name}"
        self.found.append(Found(symptom, program, command))

    def check(self, report: dict[str, Any], outcomes: list[Outcome]) -> None:
        """Compare what the server tells with what the clients saw."""
        for fault in report["faults"]:
            self._report(f"server: {fault}")
        connections = report["stats"]["connections"]
        if connections["active"] or connections["idle"] or report["tasks"]:
            self._report(f"left: {connections}, {report['tasks']}")
        if report["sockets"]:
            self._report(f"{report['sockets']} sockets left")
        if report["drained"]["aborted"]:
            self._report(f"drained: {report['drained']}")
        begun, told = Counter(report["begun"]), Counter(report["told"])
        unwritten = set(report["unwritten"])
        for outcome in outcomes:
            program = outcome.program
            due = program.due
            for number, exchange in enumerate(program.exchanges):
                id_ = exchange.plan.id
                if begun[id_] > 1 or (begun[id_] and number >= due):
                    wanted = int(number < due)
                    self._report(f"{id_} was run {begun[id_]} times, not {wanted}", program)
                # A client may go as soon as it has its last answer, finished or not.
                here = not program.leaves and number < outcome.answered - 1
                if told[id_] > 1 or (told[id_] and here and program.ending == "stay"):
                    self._report(f"{id_} was told {told[id_]} times that its client left", program)
                polls = exchange.plan.timing == "poll" and program.leaves
                if begun[id_] and polls and not told[id_]:
                    self._report(f"{id_} was not told that its client left", program)
                missed = outcome.answered <= number < due and not program.leaves
                if begun[id_] and missed and not exchange.may_be_missing:
                    self._report(f"{id_} was run and its answer did not come", program)
                if id_ in unwritten and here:
                    self._report(f"{id_}: its write callback did not run", program)


# --- Running it -------------------------------------------------------------------------------


def make_certificates(folder: Path) -> None:
    """Write a server's certificate and key, and whom to trust for it."""
    authority = trustme.CA()
    server = authority.issue_cert(HOST)
    server.cert_chain_pems[0].write_to_path(str(folder / "server.crt"))
    server.private_key_pem.write_to_path(str(folder / "server.key"))
    authority.cert_pem.write_to_path(str(folder / "ca.crt"))


def main() -> None:
    """Run rounds on each kind of server in turn."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--minutes", type=float, default=2.0)
    options.add_argument("--seed", default=f"{random.randrange(1 << 32)}")
    options.add_argument("--clients", type=int, default=CLIENTS)
    options.add_argument("--loop", choices=["asyncio", "uvloop"], help="only this")
    options.add_argument("--tls", action="store_true", help="only this")
    options.add_argument("--plain", action="store_true", help="only this")
    options.add_argument("--program", default="", help="only this one, --times in all")
    options.add_argument("--times", type=int, default=20)
    options.add_argument("--all", action="store_true", help="show all faults")
    options.add_argument("--quick", action="store_true", help="make no programs that take seconds")
    arguments = options.parse_args()
    servers = [
        (loop, tls)
        for loop, tls in SERVERS
        if arguments.loop in (None, loop)
        and (tls or not arguments.tls)
        and not (tls and arguments.plain)
    ]
    begin = time.monotonic()
    end = begin + 60 * arguments.minutes
    counts: Counter[str] = Counter()
    print(f"exchanges: seed {arguments.seed}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_certificates(folder)
        number = 0
        while time.monotonic() < end:
            loop, tls = servers[number % len(servers)]
            seed = arguments.seed if arguments.program else f"{arguments.seed}/{number}"
            number += 1
            each = Round(seed, loop, tls, folder, arguments.quick)
            if arguments.program:
                asyncio.run(each.run(1, arguments.times, only=arguments.program))
            else:
                left = end - time.monotonic()
                asyncio.run(each.run(arguments.clients, seconds=min(ROUND, left)))
            for found in each.found:
                counts["shown"] += 1
                if arguments.all or counts["shown"] <= SHOWN_FAULTS:
                    print(found, flush=True)
            counts += each.counts
            print(f"{loop} {'tls' if tls else 'plain'}: {dict(each.counts)}", flush=True)
            if arguments.program:
                break
    minutes = (time.monotonic() - begin) / 60
    print(
        f"exchanges: {counts['exchanges']} in {counts['programs']} connections and "
        f"{minutes:.1f} minutes ({counts['exchanges'] / minutes:.0f} a minute), "
        f"{counts['bytes'] >> 20} MiB, {counts['faults']} faults"
    )
    if counts["faults"]:
        sys.exit(f"The server failed; seed {arguments.seed}.")


if __name__ == "__main__":
    main()
