"""nginx before a site, with a certificate of its own: what a platform puts before it.

It listens on one address and connects to the site from another, neither of them 127.0.0.1. So the
site sees a stranger, as behind a proxy on another machine.
"""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Self

import requests

from harness.guard import guard
from harness.processes import START_SECONDS, free_port
from harness.waiting import eventually

ADDRESS, CONNECTS_FROM = "127.0.0.7", "127.0.0.2"
# Python's default context is strict about the extensions of an authority's certificate.
EXTENSIONS = [f"subjectAltName=IP:{ADDRESS}", "keyUsage=critical,digitalSignature,keyCertSign"]
CONFIGURATION = """
{user}
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/answers;
  fastcgi_temp_path {folder}/unused;
  uwsgi_temp_path {folder}/unused;
  scgi_temp_path {folder}/unused;
  proxy_bind {connects_from};
  {server}
}}
"""
SERVER = """
server {
  listen 443 ssl;
  ssl_certificate fullchain.pem;
  ssl_certificate_key privkey.pem;
  location / {
    proxy_pass http://127.0.0.1:8000;
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    proxy_set_header X-Forwarded-Proto $scheme;
  }
}
"""


def nginx() -> str:
    """Where nginx is; empty if it is not installed. Debian does not put it on a user's path."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or ""


class TLSProxy:
    """Start with `with TLSProxy(folder, port) as proxy`; `server` is a server block of nginx.

    Its ports 443 and 80 become free ones of ADDRESS, 8000 that of the site, and the certificate
    is one of the proxy's own.
    """

    def __init__(self, folder: Path, site_port: int, server: str = SERVER) -> None:
        self.folder, self.site_port, self.port = folder, site_port, free_port()
        self.host = f"{ADDRESS}:{self.port}"
        self.url = f"https://{self.host}"
        self.certificate = folder / "fullchain.pem"
        changes = {
            "listen 443": f"listen {self.host}",
            "listen 80": f"listen {ADDRESS}:{free_port()}",
            "127.0.0.1:8000": f"127.0.0.1:{site_port}",
        }
        for before, after in changes.items():
            server = server.replace(before, after)
        self.server = re.sub(r"/\S+/(fullchain|privkey)\.pem", r"\1.pem", server)

    def make_certificate(self) -> None:
        curve = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        files = ["-keyout", self.folder / "privkey.pem", "-out", self.certificate]
        extensions = [word for extension in EXTENSIONS for word in ("-addext", extension)]
        command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test"]
        subprocess.run(
            [*command, "-newkey", *curve, *files, *extensions], check=True, capture_output=True
        )

    def __enter__(self) -> Self:
        self.make_certificate()
        file = self.folder / "nginx.conf"
        file.write_text(
            CONFIGURATION.format(
                user="user root;" if os.getuid() == 0 else "",
                folder=self.folder,
                connects_from=CONNECTS_FROM,
                server=self.server,
            )
        )
        command = [nginx(), "-p", self.folder, "-c", file, "-e", self.folder / "error.log"]
        self.process = subprocess.Popen(command)
        # nginx writes its title over its environment, so it cannot be known by a mark there.
        guard.watch(self.process.pid, signal.SIGTERM)
        try:
            eventually(self.is_up, START_SECONDS, "nginx's start")
        except BaseException:
            self.__exit__()
            raise
        return self

    def is_up(self) -> bool:
        assert self.process.poll() is None, (self.folder / "error.log").read_text()
        try:  # any answer will do: the site itself may not be up yet
            requests.head(self.url, verify=self.certificate, allow_redirects=False, timeout=10)
        except requests.ConnectionError:
            return False
        return True

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=20)
