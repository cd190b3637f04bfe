"""console/networks.py: what stands for an address, and who may import it."""

import subprocess
import sys

import pytest

from console.networks import network_of
from harness.processes import ROOT


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("no address", "unknown"),
    ],
)
def test_network_stands_for_its_addresses(address, network):
    assert network_of(address) == network


def test_middleware_of_the_queue_alone_loads_no_model_of_the_console():
    code = "import jobsite.middleware, sys; assert 'console.models' not in sys.modules"
    environment = {"DJANGO_SETTINGS_MODULE": "jobsite.broker_settings"}
    done = subprocess.run(
        [sys.executable, "-c", f"import os; os.environ |= {environment}; {code}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
