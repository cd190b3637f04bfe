"""nginx before a site: it comes from an address that gunicorn does not believe by itself."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from harness.guard import guard
from harness.processes import free_port
from harness.waiting import eventually
from tests.conftest import skip_or_fail

CONFIGURATION = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen 127.0.0.1:{port} {tls};
    location / {{
      proxy_pass {to};
      proxy_bind 127.0.0.2;
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
    }}
  }}
}}
"""


@contextmanager
def proxied(folder: Path, to: str, certificate: Path | None = None) -> Iterator[str]:
    """The address of an nginx that passes everything on; with a certificate by https."""
    if not (nginx := shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")):
        skip_or_fail("nginx is not installed; enable with: apt-get install nginx-light")
    folder.mkdir()
    port, tls = free_port(), ""
    if certificate:
        key = certificate.with_suffix(".key")
        tls = f"ssl; ssl_certificate {certificate}; ssl_certificate_key {key}"
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, port=port, tls=tls, to=to))
    command = [nginx, "-c", configuration, "-e", folder / "nginx.log"]
    process = subprocess.Popen(command)
    # nginx writes its title over its environment, so it cannot be known by a mark there.
    guard.watch(process.pid, signal.SIGTERM)
    url = f"http{'s' if certificate else ''}://127.0.0.1:{port}"
    try:
        eventually(lambda: is_up(url), what="nginx's start")
        yield url
    finally:
        process.terminate()
        process.wait(timeout=30)


def is_up(url: str) -> bool:
    try:
        requests.get(f"{url}/healthz", timeout=30)
    except requests.exceptions.SSLError:
        return True  # it speaks TLS, and nobody knows its certificate
    except requests.ConnectionError:
        return False
    return True


def certificate_in(folder: Path) -> Path:
    """A certificate for 127.0.0.1 that nobody but its owner trusts; its key is beside it."""
    file = folder / "certificate.pem"
    command = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", file.with_suffix(".key"), "-out", file]
    if not (openssl := shutil.which("openssl")):
        pytest.fail("openssl is not installed")
    subprocess.run([openssl, *command.split(), *names, *files], check=True, capture_output=True)
    return file
