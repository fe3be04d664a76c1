"""nginx with ``return 200``: write a configuration to a temporary folder and become nginx."""

import os
import tempfile
from pathlib import Path

from benchmarks.apps.options import HELLO, HOST, LARGE, parse_options

CONFIGURATION = """\
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
worker_processes {processes};
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log {log};
    # Else nginx closes every thousandth request's connection, or an idle one too early.
    keepalive_requests 1000000000;
    keepalive_timeout 75s;
    client_max_body_size 0;
    client_body_temp_path {folder};
    proxy_temp_path {folder};
    fastcgi_temp_path {folder};
    uwsgi_temp_path {folder};
    scgi_temp_path {folder};
    default_type text/plain;
    server {{
        listen {host}:{port} backlog=4096{tls};
        {certificate}
        location / {{ {answer} }}
    }}
}}
"""

if __name__ == "__main__":
    options = parse_options()
    # A folder that nginx's unprivileged workers may look into; the harness removes it.
    folder = Path(tempfile.mkdtemp(prefix="bench-nginx-"))
    folder.chmod(0o755)
    certificate = ""
    if options.certificate:
        certificate = f"ssl_certificate {options.certificate};\n"
        certificate += f"        ssl_certificate_key {options.key};"
    answer = f'return 200 "{HELLO.decode()}";'
    if options.answer == "large":  # too much for a configuration file
        (folder / "large").write_bytes(LARGE)
        answer = f"root {folder}; try_files /large =404;"
    configuration = CONFIGURATION.format(
        folder=folder,
        log=f"{folder}/access.log" if options.answer == "logged" else "off",
        host=HOST,
        port=options.port,
        processes=options.processes,
        tls=" ssl" if options.certificate else "",
        certificate=certificate,
        answer=answer,
    )
    (folder / "nginx.conf").write_text(configuration)
    os.execvp("nginx", ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")])
