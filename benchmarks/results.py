"""The result files: figures as JSON, one file for each shape."""

import json
import statistics
from pathlib import Path
from typing import Any

from benchmarks import machine

__all__ = ["RESULTS", "ResultFile", "load_results", "median", "ranked", "spread", "total"]

RESULTS = Path(__file__).parent / "results"


class ResultFile:
    """The results of one shape or of one parser benchmark, written as they come.

    Args:
        path: The file.
        about: What was measured: title, kind, settings.
    """

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self._path = path
        self._steal = machine.steal_seconds()
        self.data: dict[str, Any] = {
            **about,
            "date": machine.now(),
            "complete": False,
            **machine.describe(),
            "load_average": float(Path("/proc/loadavg").read_text().split()[0]),
            "steal_seconds": 0.0,
            "contenders": {},
            "left_out": {},
            # Requests per second that all are asked, who is not asked so often, and who did
            # not keep up in some round.
            "rate": None,
            "too_slow": {},
            "behind": {},
        }

    def is_done(self) -> bool:
        """Tell whether the file has complete results of the same thing on the same machine."""
        try:
            old = json.loads(self._path.read_text())
        except (OSError, ValueError):
            return False
        same = ("machine", "versions", "source", "settings")
        return bool(old.get("complete")) and all(old.get(key) == self.data[key] for key in same)

    def add(self, name: str, about: dict[str, Any], run: dict[str, Any]) -> None:
        """Add one run of a contender."""
        contender = self.data["contenders"].setdefault(name, {**about, "runs": []})
        contender["runs"].append(run)

    def has_runs(self, name: str) -> bool:
        """Tell whether there is a run of a contender."""
        return name in self.data["contenders"]

    def leave_out(self, name: str, reason: str) -> None:
        """Note why a contender was not measured, or not to the end."""
        self.data["left_out"][name] = reason

    def write(self, complete: bool) -> None:
        """Write what there is."""
        self.data["complete"] = complete
        self.data["steal_seconds"] = round(machine.steal_seconds() - self._steal, 2)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(_rounded(self.data), indent=1, ensure_ascii=False)
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(text + "\n")
        temporary.replace(self._path)  # an interrupted write destroys nothing


def load_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Read all result files of a folder, by name."""
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}


def median(result: dict[str, Any], name: str, key: str, **where: Any) -> float | None:
    """The median of a contender's runs; None if there are none.

    Args:
        result: A result file.
        name: The contender.
        key: The figure.
        where: Only runs with these values count.
    """
    values = _values(result, name, key, where)
    return statistics.median(values) if values else None


def spread(result: dict[str, Any], name: str, key: str, **where: Any) -> tuple[float, float] | None:
    """The least and the largest of a contender's runs, as ``median``."""
    values = _values(result, name, key, where)
    return (min(values), max(values)) if values else None


def total(result: dict[str, Any], name: str, key: str) -> float:
    """The sum of a contender's runs."""
    return sum(_values(result, name, key, {}))


def ranked(result: dict[str, Any], key: str, **where: Any) -> list[str]:
    """Names of the contenders that have this figure, the least median first."""
    known = {name: median(result, name, key, **where) for name in result["contenders"]}
    values = {name: value for name, value in known.items() if value is not None}
    return sorted(values, key=values.__getitem__)


def _values(result: dict[str, Any], name: str, key: str, where: dict[str, Any]) -> list[float]:
    runs = result["contenders"].get(name, {}).get("runs", [])
    return [run[key] for run in runs if key in run and where.items() <= run.items()]


def _rounded(value: Any) -> Any:
    """Four digits behind the point are more than any of the figures is good for."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value
