"""The access log: a line, or a record of the logging module, for each exchange."""

from fasthttpserver._net.lines import reopen_files
from fasthttpserver._server.access import AccessLog
from fasthttpserver._server.access_record import AccessRecord

__all__ = ["AccessLog", "AccessRecord", "reopen_files"]
