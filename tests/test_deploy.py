"""app.json, render.yaml and Procfile keep to their platforms' rules, docs/deploy.md to them.

The rules are those of https://devcenter.heroku.com/articles/app-json-schema and of
https://render.com/docs/blueprint-spec, as far as these files use them.
"""

import configparser
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import dj_database_url
import jsonschema
import pytest
import yaml
from django.core.management import get_commands
from django.test import Client

from broker.models import Message
from harness.platforms import app_json, blueprint, machine, procfile, uncompiled
from harness.processes import ROOT
from harness.visitor import TOKEN
from operations import checks

PAGE = (ROOT / "docs/deploy.md").read_text()
# What the page says of Docker has a test of its own.
PLATFORMS = PAGE.partition("\n## Docker")[0]
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PLATFORMS, re.MULTILINE | re.DOTALL)
COMMANDS = [line for language, code in BLOCKS if language == "sh" for line in code.splitlines()]
EXAMPLE = set(re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE))


def fields(needed: list[str], /, **properties: Any) -> dict[str, Any]:
    """A schema of an object that has these fields and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }


def one_of(*values: Any) -> dict[str, Any]:
    return {"enum": list(values)}


TEXT = {"type": "string", "minLength": 1}
DYNO = fields(
    ["quantity"],
    quantity={"type": "integer", "minimum": 0},
    size=one_of("eco", "basic", "standard-1x", "standard-2x", "performance-m", "performance-l"),
)
VARIABLE = fields(
    ["description"],
    description=TEXT,
    value=TEXT,
    required={"type": "boolean"},
    generator=one_of("secret"),
)
APP_JSON = fields(
    ["name", "formation"],
    name=TEXT | {"maxLength": 30},
    description=TEXT,
    keywords={"type": "array", "items": TEXT},
    success_url=TEXT,
    buildpacks={"type": "array", "items": fields(["url"], url=TEXT)},
    addons={"type": "array", "items": fields(["plan"], plan=TEXT)},
    formation={"type": "object", "additionalProperties": DYNO},
    env={
        "type": "object",
        "patternProperties": {"^[A-Z][A-Z0-9_]*$": VARIABLE},
        "additionalProperties": False,
    },
)

FROM_DATABASE = fields(
    ["name", "property"], name=TEXT, property=one_of("connectionString", "host", "port")
)
KEY_AND = {
    "oneOf": [
        fields(["key", "value"], key=TEXT, value=TEXT),
        fields(["key", "generateValue"], key=TEXT, generateValue=one_of(True)),
        fields(["key", "fromDatabase"], key=TEXT, fromDatabase=FROM_DATABASE),
        fields(["key", "sync"], key=TEXT, sync=one_of(False)),
    ]
}
SERVICE = {
    "name": TEXT,
    "type": one_of("web"),
    "runtime": one_of("python"),
    "buildCommand": TEXT,
    "startCommand": TEXT,
    "healthCheckPath": {"type": "string", "pattern": "^/"},
    "envVars": {"type": "array", "items": KEY_AND},
}
NEEDED = ["name", "type", "runtime", "plan", "buildCommand", "startCommand"]
FREE = fields(NEEDED, **SERVICE, plan=one_of("free"))
PAID = fields(
    NEEDED,
    **SERVICE,
    plan=one_of("starter", "standard", "pro", "pro plus", "pro max", "pro ultra"),
    preDeployCommand=TEXT,
    maxShutdownDelaySeconds={"type": "integer", "minimum": 1, "maximum": 300},
)
DATABASE = fields(
    ["name", "plan"], name=TEXT, plan=one_of("free", "basic-256mb"), ipAllowList={"type": "array"}
)
RENDER = fields(
    ["services", "databases"],
    services={"type": "array", "items": {"oneOf": [FREE, PAID]}},
    databases={"type": "array", "items": DATABASE},
)


def as_a_paid_one() -> dict[str, Any]:
    """The service as the comments in render.yaml say it is on a paid plan."""
    (service,) = blueprint()["services"]
    text = (ROOT / "render.yaml").read_text()
    lines = re.findall(r"^    # (\w+: .+)$", text.partition("# A paid service")[2], re.MULTILINE)
    return service | yaml.safe_load("\n".join(lines))


def test_app_json_keeps_to_its_schema():
    jsonschema.validate(app_json(), APP_JSON)


def test_render_yaml_keeps_to_its_schema():
    jsonschema.validate(blueprint(), RENDER)


def test_paid_lines_in_render_yaml_keep_to_it_too():
    paid = as_a_paid_one()
    jsonschema.validate(paid, PAID)
    assert {"preDeployCommand", "maxShutdownDelaySeconds"} <= paid.keys()
    assert "migrate_locked" not in paid["startCommand"]


@pytest.mark.parametrize("field", ["preDeployCommand", "maxShutdownDelaySeconds"])
def test_schema_refuses_on_a_free_plan_what_render_refuses(field):
    free = as_a_paid_one() | {"plan": "free"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({field: free[field]} | blueprint()["services"][0], FREE)


def test_formation_is_that_of_the_procfile():
    processes = set(procfile()) - {"release"}
    assert set(app_json()["formation"]) == processes == {"web", "worker"}
    assert app_json()["formation"]["web"]["quantity"] == 1


def test_database_that_render_yaml_refers_to_is_in_it():
    (service,), (database,) = blueprint()["services"], blueprint()["databases"]
    (used,) = [entry["fromDatabase"] for entry in service["envVars"] if "fromDatabase" in entry]
    assert used == {"name": database["name"], "property": "connectionString"}


def test_secrets_are_made_up_by_the_platform():
    (service,) = blueprint()["services"]
    secret = {"SECRET_KEY", "CONSOLE_PASSWORD", "BROKER_TOKEN"}
    made = {name for name, entry in app_json()["env"].items() if entry.get("generator")}
    assert made == {e["key"] for e in service["envVars"] if e.get("generateValue")} == secret


def test_variables_of_the_platforms_are_settings():
    (service,) = blueprint()["services"]
    names = {entry["key"] for entry in service["envVars"]} | set(app_json()["env"])
    assert names <= EXAMPLE


def test_what_a_platform_needs_for_uv_is_there():
    assert (ROOT / "uv.lock").is_file()
    assert re.fullmatch(r"3\.\d+\n", (ROOT / ".python-version").read_text())
    # Heroku's buildpack refuses an app with two package managers.
    others = ["requirements.txt", "Pipfile", "poetry.lock", "runtime.txt"]
    assert [name for name in others if (ROOT / name).exists()] == []


def every_command() -> list[str]:
    """Each command of the platforms' files and of the page, one program each."""
    service = as_a_paid_one() | blueprint()["services"][0]
    keys = ("buildCommand", "startCommand", "preDeployCommand")
    lines = [*procfile().values(), *(service[key] for key in keys), *COMMANDS]
    return [part.strip() for line in lines for part in line.split("&&")]


@pytest.mark.parametrize("command", [each for each in every_command() if "manage.py" in each])
def test_management_command_exists(command):
    words = shlex.split(command)
    name = words[words.index("manage.py") + 1]
    assert name in get_commands()


@pytest.mark.parametrize("command", [each for each in every_command() if "uv sync" in each])
def test_what_is_locked_is_installed_without_what_is_for_development(command):
    command = command.removeprefix("sudo -u jobs ").removesuffix(" --compile-bytecode")
    assert command == "uv sync --locked --no-dev"


def test_build_on_heroku_leaves_nothing_to_compile(tmp_path):
    hook = Path("bin/post_compile")
    for path in (hook, Path("jobs/tasks.py"), Path(".venv/lib/another.py")):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    shutil.copy(ROOT / hook, tmp_path / hook)
    assert uncompiled(tmp_path) == ["jobs/tasks.py"]
    subprocess.run([f"./{hook}"], cwd=tmp_path, check=True, env=machine(Path(sys.prefix, "bin")))
    assert uncompiled(tmp_path) == []
    assert not list((tmp_path / ".venv").rglob("*.pyc"))


def test_variables_on_the_page_are_settings():
    code = "\n".join(code for _, code in BLOCKS)
    named = set(re.findall(r"`([A-Z][A-Z_]+)(?:=\w*)?`", PLATFORMS))
    named |= set(re.findall(r"(?<!\$)\b([A-Z][A-Z_]{3,})=", code))
    assert named - {"LimitNOFILE"} <= EXAMPLE


def test_every_error_of_the_deployment_check_is_on_the_page():
    (code,) = [(ROOT / "operations/checks.py").read_text()]
    found = set(re.findall(r'id="(operations\.\w+)"', code))
    assert set(re.findall(r"`(operations\.[EW]\d+)`", PAGE)) == found


def test_regions_on_the_page_are_those_of_the_check():
    hosts = set(re.findall(r"https://(qstash[\w.-]+)", PAGE))
    assert hosts <= set(checks.REGIONS) and len(hosts) == 2


def test_unit_starts_the_server_behind_a_proxy_and_waits_for_it():
    (text,) = [code for language, code in BLOCKS if language == "ini" and "[Service]" in code]
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].endswith("/.venv/bin/gunicorn --bind 127.0.0.1:8000")
    assert service["WorkingDirectory"] + "/.venv" in service["ExecStart"]
    assert (service["TimeoutStopSec"], service["KillMode"]) == ("30", "mixed")


def test_database_of_the_server_is_reached_over_its_socket():
    (url,) = re.findall(r"^DATABASE_URL=(.+)$", PLATFORMS, re.MULTILINE)
    database = dj_database_url.parse(url)
    assert (database["NAME"], database["HOST"], database["USER"]) == ("jobs", "", "")


def test_app_that_does_not_know_its_address_takes_that_of_the_visitor(settings, transactional_db):
    settings.PUBLIC_URL, settings.CSRF_TRUSTED_ORIGINS = "", []
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = [".herokuapp.com"], True
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    host = "jobs-1a2b3c.herokuapp.com"
    headers = {"host": host, "x-forwarded-proto": "https", "origin": f"https://{host}"}
    client = Client(enforce_csrf_checks=True, headers=headers)
    token = TOKEN.search(client.get("/").content.decode())[1]
    answer = client.post("/jobs/start", {"csrfmiddlewaretoken": token})
    assert answer.status_code == 303
    assert Message.objects.get().url == f"https://{host}/api/long-task"


@pytest.mark.parametrize("anchor", re.findall(r"\(#([\w-]+)\)", PAGE))
def test_link_within_the_page_leads_somewhere(anchor):
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    assert anchor in {heading.lower().replace(" ", "-") for heading in headings}


def test_links_of_the_readme_lead_to_headings_of_the_page():
    anchors = re.findall(r"docs/deploy\.md#([\w-]+)", (ROOT / "README.md").read_text())
    headings = re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    assert len(anchors) == 4
    assert set(anchors) <= {heading.lower().replace(" ", "-") for heading in headings}
