"""nginx before a site, configured as a test or the documents say.

What stands before a site on a platform is a `TLSProxy`. It listens on one address and connects to
the site from another, neither of them 127.0.0.1: the site sees a stranger, as behind a proxy on
another machine.
"""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from harness.guard import guard
from harness.processes import START_SECONDS, free_port
from harness.waiting import eventually

ADDRESS, CONNECTS_FROM = "127.0.0.7", "127.0.0.2"
# Python's default context is strict about the extensions of an authority's certificate.
KEY_USAGE = "keyUsage=critical,digitalSignature,keyCertSign"
CONFIGURATION = """
{user}
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/nginx.log;
events {{ }}
http {{
  access_log off;
  client_body_temp_path {folder}/bodies;
  proxy_temp_path {folder}/answers;
  fastcgi_temp_path {folder}/unused;
  uwsgi_temp_path {folder}/unused;
  scgi_temp_path {folder}/unused;
  {blocks}
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


@contextmanager
def running_nginx(folder: Path, blocks: str) -> Iterator[None]:
    """nginx with these blocks in its `http`. Files are looked for, and written, in the folder."""
    folder.mkdir(exist_ok=True)
    user = "user root;" if os.getuid() == 0 else ""
    file, log, pid = [folder / name for name in ("nginx.conf", "nginx.log", "nginx.pid")]
    file.write_text(CONFIGURATION.format(user=user, folder=folder, blocks=blocks))
    process = subprocess.Popen([nginx(), "-p", folder, "-c", file, "-e", log])
    # nginx writes its title over its environment, so it cannot be known by a mark there.
    guard.watch(process.pid, signal.SIGTERM)

    def listens() -> bool:
        assert process.poll() is None, log.read_text()
        return pid.exists()  # it is written after the sockets have been opened

    try:
        eventually(listens, START_SECONDS, "nginx's start")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


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
        self.stack = ExitStack()

    def __enter__(self) -> Self:
        make_certificate(self.folder, f"IP:{ADDRESS}")
        blocks = f"proxy_bind {CONNECTS_FROM};\n{self.server}"
        self.stack.enter_context(running_nginx(self.folder, blocks))
        return self

    def __exit__(self, *error: object) -> None:
        self.stack.close()


def make_certificate(folder: Path, names: str) -> tuple[Path, Path]:
    """Make a self-signed certificate for `names`, such as `DNS:a.test`, and its key.

    The files have the names that Let's Encrypt gives them.
    """
    certificate, key = folder / "fullchain.pem", folder / "privkey.pem"
    curve = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    extensions = ["-addext", f"subjectAltName={names}", "-addext", KEY_USAGE]
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=test"]
    files = ["-keyout", key, "-out", certificate]
    subprocess.run(
        [*command, "-newkey", *curve, *files, *extensions], check=True, capture_output=True
    )
    return certificate, key
