"""What is measured under which name, and how its server is started."""

import importlib.util
import json
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import PACKAGES_NOT_INSTALLED

__all__ = ["CONTENDERS", "DEBIAN_PACKAGES", "Contender", "why_not_installed"]

DEBIAN_PACKAGES = {
    "nginx": "nginx-light",
    "node": "nodejs",
    "valgrind": "valgrind",
    "wrk": "wrk",
}


_FEATURES = {
    "attributes": "parsed arguments and cookies",
    "processes": "worker processes",
    "tls": "TLS",
}


@dataclass(frozen=True)
class Contender:
    """One server in one configuration.

    Args:
        title: What stands in tables.
        kind: ``ours``, ``limit``, ``peer`` (a server for Python) or ``reference``.
        app: Module in ``benchmarks.apps``, or a JavaScript file there.
        options: Options of the app that are always given.
        package: The distribution on which it stands, and which has to be importable.
        program: The program that has to be installed.
        lacks: Features it does not have, of ``tls``, ``processes``, ``body``, ``attributes``.
            Without ``body`` it answers its constant to requests with one all the same.
    """

    title: str
    kind: str
    app: str
    options: tuple[str, ...] = ()
    package: str | None = None
    program: str | None = None
    lacks: tuple[str, ...] = ("attributes",)

    def lacking(self, features: set[str]) -> str | None:
        """Say which of these features it does not have; None if it has them all."""
        missing = sorted(features & set(self.lacks))
        return f"has no {' and no '.join(_FEATURES[name] for name in missing)}" if missing else None

    def missing(self) -> str | None:
        """Say why this contender cannot run here; None if it can."""
        if self.program is not None and shutil.which(self.program) is None:
            package = DEBIAN_PACKAGES[self.program]
            return f"{self.program} is not installed (Debian package {package})"
        for needed in (self.package, "uvloop" if "uvloop" in self.options else None):
            if needed is not None and importlib.util.find_spec(needed) is None:
                return why_not_installed(needed)
        return None

    def command(self, arguments: dict[str, object]) -> list[str]:
        """Return the command line of the server with these further options."""
        start = [sys.executable, "-m", f"benchmarks.apps.{self.app}"]
        if self.app.endswith(".js"):
            start = ["node", str(Path(__file__).parent / "apps" / self.app)]
        extra = [f"--{name}={value}" for name, value in arguments.items() if value is not None]
        return [*start, *self.options, *extra]


def why_not_installed(package: str) -> str:
    """Say what kept a package from being installed here."""
    reasons: dict[str, str] = {}
    if PACKAGES_NOT_INSTALLED.exists():
        reasons = json.loads(PACKAGES_NOT_INSTALLED.read_text())
    return reasons.get(package, f"the package {package} is not installed")


_UVLOOP = ("--loop", "uvloop")
_ON_OURS = ("--server", "ours")
_GRANIAN = (*_UVLOOP, "--interface")
_THREADS = ("--threads", "8")
_NO_THREADS = ("--threads", "0")
_C_WSGI = ("attributes", "processes", "tls")
_CONSTANT = ("attributes", "body", "processes")

CONTENDERS = {
    "ours-asyncio": Contender("fasthttpserver, asyncio", "ours", "ours", lacks=()),
    "ours-uvloop": Contender("fasthttpserver, uvloop", "ours", "ours", _UVLOOP, lacks=()),
    "limit-asyncio": Contender("limit, asyncio", "limit", "limit", lacks=_CONSTANT),
    "limit-uvloop": Contender("limit, uvloop", "limit", "limit", _UVLOOP, lacks=_CONSTANT),
    "tornado": Contender("tornado, asyncio", "peer", "tornado_http", (), "tornado", lacks=()),
    "tornado-uvloop": Contender(
        "tornado, uvloop", "peer", "tornado_http", _UVLOOP, "tornado", lacks=()
    ),
    "aiohttp": Contender(
        "aiohttp, asyncio", "peer", "aiohttp_web", (), "aiohttp", lacks=("attributes", "processes")
    ),
    "aiohttp-uvloop": Contender(
        "aiohttp, uvloop",
        "peer",
        "aiohttp_web",
        _UVLOOP,
        "aiohttp",
        lacks=("attributes", "processes"),
    ),
    "uvicorn": Contender(
        "uvicorn, httptools, uvloop",
        "peer",
        "uvicorn_asgi",
        (*_UVLOOP, "--http", "httptools"),
        "uvicorn",
    ),
    "uvicorn-zttp": Contender(
        "uvicorn, zttp, uvloop", "peer", "uvicorn_asgi", (*_UVLOOP, "--http", "zttp"), "zttp"
    ),
    "granian-rsgi": Contender(
        "granian, RSGI", "peer", "granian_server", (*_GRANIAN, "rsgi"), "granian"
    ),
    "granian-asgi": Contender(
        "granian, ASGI", "peer", "granian_server", (*_GRANIAN, "asgi"), "granian"
    ),
    "granian-wsgi": Contender(
        "granian, WSGI", "peer", "granian_server", (*_GRANIAN, "wsgi"), "granian"
    ),
    "wsgi-threads-asyncio": Contender(
        "fasthttpserver, 8 threads, asyncio", "ours", "ours_wsgi", _THREADS, lacks=_C_WSGI
    ),
    "wsgi-threads-uvloop": Contender(
        "fasthttpserver, 8 threads, uvloop",
        "ours",
        "ours_wsgi",
        (*_THREADS, *_UVLOOP),
        lacks=_C_WSGI,
    ),
    "wsgi-loop-asyncio": Contender(
        "fasthttpserver, in the loop, asyncio", "ours", "ours_wsgi", _NO_THREADS, lacks=_C_WSGI
    ),
    "wsgi-loop-uvloop": Contender(
        "fasthttpserver, in the loop, uvloop",
        "ours",
        "ours_wsgi",
        (*_NO_THREADS, *_UVLOOP),
        lacks=_C_WSGI,
    ),
    "wsgi-gunicorn": Contender(
        "gunicorn, 8 threads", "peer", "gunicorn_wsgi", _THREADS, "gunicorn", lacks=_C_WSGI
    ),
    "wsgi-waitress": Contender(
        "waitress, 8 threads", "peer", "waitress_wsgi", _THREADS, "waitress", lacks=_C_WSGI
    ),
    "bjoern": Contender("bjoern", "peer", "bjoern_wsgi", (), "bjoern", lacks=_C_WSGI),
    "fastpysgi": Contender(
        "fastpysgi, WSGI",
        "peer",
        "fastpysgi_wsgi",
        (),
        "fastpysgi",
        lacks=("attributes", "processes"),
    ),
    "socketify": Contender(
        "socketify", "peer", "socketify_app", (), "socketify", lacks=("attributes", "processes")
    ),
    "robyn": Contender(
        "robyn", "peer", "robyn_app", (), "robyn", lacks=("attributes", "processes", "tls")
    ),
    "web-ours-asyncio": Contender(
        "tornado.web on fasthttpserver, asyncio", "ours", "tornado_web", _ON_OURS, "tornado"
    ),
    "web-ours-uvloop": Contender(
        "tornado.web on fasthttpserver, uvloop",
        "ours",
        "tornado_web",
        (*_ON_OURS, *_UVLOOP),
        "tornado",
    ),
    "web-tornado-asyncio": Contender(
        "tornado.web on tornado, asyncio", "peer", "tornado_web", (), "tornado"
    ),
    "web-tornado-uvloop": Contender(
        "tornado.web on tornado, uvloop", "peer", "tornado_web", _UVLOOP, "tornado"
    ),
    "asgi-ours-asyncio": Contender("fasthttpserver, ASGI, asyncio", "ours", "ours_asgi"),
    "asgi-ours-uvloop": Contender("fasthttpserver, ASGI, uvloop", "ours", "ours_asgi", _UVLOOP),
    "asgi-hypercorn": Contender(
        "hypercorn, uvloop", "peer", "hypercorn_asgi", _UVLOOP, "hypercorn"
    ),
    "asgi-fastpysgi": Contender("fastpysgi, ASGI", "peer", "fastpysgi_asgi", (), "fastpysgi"),
    "nginx": Contender(
        "nginx, return 200",
        "reference",
        "nginx",
        program="nginx",
        lacks=("attributes", "body"),
    ),
    "node": Contender(
        "Node, http.createServer",
        "reference",
        "node_http.js",
        program="node",
        lacks=("attributes", "processes"),
    ),
}
