"""The names of ``tornado.process``."""

from fasthttpserver._net.processes import (
    cpu_count,
    fork_processes,
    task_id,
    told_by_parent,
    told_to_end,
)

__all__ = [
    "cpu_count",
    "fork_processes",
    "task_id",
    "told_by_parent",
    "told_to_end",
]
