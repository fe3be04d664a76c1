"""gunicorn with its threads: one worker, as many threads as ours has."""

import sys
from typing import Any

from gunicorn.app.base import BaseApplication

from benchmarks.apps import wsgi
from benchmarks.apps.options import HOST, Options, parse_options


class Application(BaseApplication):
    def __init__(self, options: Options, threads: int) -> None:
        self._options = options
        self._threads = threads
        super().__init__()

    def load_config(self) -> None:
        settings = {
            "bind": f"{HOST}:{self._options.port}",
            "worker_class": "gthread",
            "threads": self._threads,
            "backlog": 4096,
            "keepalive": 75,  # 2 s by default, in which the load may pause
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        return getattr(wsgi, self._options.answer)


if __name__ == "__main__":
    options = parse_options()
    threads = int(sys.argv[sys.argv.index("--threads") + 1])
    sys.argv = sys.argv[:1]  # gunicorn reads it too
    Application(options, threads).run()
