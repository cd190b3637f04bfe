"""The small parts of `manage.py dev`; that it runs is in tests/test_servers.py."""

import errno
import os
import subprocess
import sys
from email.message import Message
from io import StringIO
from types import SimpleNamespace

import pytest

from harness.processes import ROOT
from jobs.management.commands.dev import Command, RequestHandler, Server

# In a process of its own: in this one, another test may have imported everything.
START = """
import sys, threading
import django
django.setup()
from jobs.management.commands import dev

class Dispatcher(dev.Dispatcher):
    def start(self):
        print("broker.connections" in sys.modules)
        started.set()

started = threading.Event()
dev.Dispatcher = Dispatcher
dev.atexit.register = lambda stop: None
print("broker.connections" in sys.modules)
dev.run_dispatcher_in_thread()
started.wait(20)
"""


@pytest.fixture
def command() -> Command:
    command = Command(stdout=StringIO())
    command.addr, command._raw_ipv6 = "127.0.0.1", False
    return command


def test_port_comes_from_the_settings(command, settings):
    settings.PORT = 8123
    parser = command.create_parser("manage.py", "dev")
    assert parser.parse_args([]).port == 8123
    assert parser.parse_args(["--port", "9000"]).port == 9000


@pytest.mark.parametrize(
    ("addr", "ipv6", "url"),
    [("127.0.0.1", False, "http://127.0.0.1:8123/"), ("::1", True, "http://[::1]:8123/")],
)
def test_it_prints_where_to_click_and_which_queue(command, settings, addr, ipv6, url):
    settings.RUN_DISPATCHER = False
    command.addr, command._raw_ipv6 = addr, ipv6
    command.on_bind(8123)
    said = command.stdout.getvalue()
    assert f"Open {url} and click. Queue: embedded." in said
    assert f"QSTASH_URL={url.rstrip('/')} QSTASH_TOKEN={settings.BROKER_TOKEN}" in said


def test_address_comes_first_and_the_token_after_it(command, settings):
    settings.RUN_DISPATCHER = False
    command.on_bind(8123)
    first, *_, last = command.stdout.getvalue().splitlines()
    assert "http://127.0.0.1:8123/" in first
    assert settings.BROKER_TOKEN in last


def test_first_message_does_not_wait_for_imports():
    settings = {"DJANGO_SETTINGS_MODULE": "jobsite.settings", "SECRET_KEY": "x" * 50}
    started = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", START],
        cwd=ROOT,
        env=os.environ | settings,
        capture_output=True,
        text=True,
    )
    assert started.returncode == 0, started.stderr
    assert started.stdout.split() == ["False", "True"]


def test_dispatcher_that_is_switched_off_is_said(command, settings):
    settings.RUN_DISPATCHER = False
    command.on_bind(8123)
    assert "switched off (RUN_DISPATCHER=0)" in command.stdout.getvalue()


def test_hosted_queue_lacks_no_dispatcher(command, hosted, settings):
    settings.RUN_DISPATCHER = False
    command.on_bind(8123)
    assert "RUN_DISPATCHER" not in command.stdout.getvalue()


def test_port_that_cannot_be_taken_for_another_reason_is_left_to_django():
    with pytest.raises(OSError) as caught:
        Server(("192.0.2.1", 0), RequestHandler)  # an address of no machine
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_it_names_the_hosted_queue(command, hosted, settings):
    settings.RUN_DISPATCHER = False
    command.on_bind(8123)
    assert "Queue: hosted QStash." in command.stdout.getvalue()
    assert "QSTASH_TOKEN" not in command.stdout.getvalue()


def test_request_target_is_kept_as_it_came():
    handler = RequestHandler.__new__(RequestHandler)  # without a socket
    handler.path = "/v2/publish/http://a.test/%2F?b=%20"
    handler.headers, handler.request_version, handler.command = Message(), "HTTP/1.1", "POST"
    handler.server, handler.client_address = SimpleNamespace(base_environ={}), ("127.0.0.1", 1)
    assert handler.get_environ()["RAW_URI"] == "/v2/publish/http://a.test/%2F?b=%20"
