"""The environment becomes settings, or a sentence that says what is wrong with it."""

import os
import re
import runpy
import stat
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import connection

from harness.processes import ROOT
from jobsite.settings import flag, kept_secret, number, url
from tests.elsewhere import another_cursor

EMPTY = dict.fromkeys(
    [
        "ALLOWED_HOSTS", "BROKER_TOKEN", "CODESPACE_NAME", "DATABASE_URL", "DEBUG",
        "HEROKU_APP_DEFAULT_DOMAIN_NAME", "LOG_FORMAT", "LONG_TASK_TARGET_URL", "METRICS_TOKEN",
        "PORT", "PROMETHEUS_MULTIPROC_DIR", "PUBLIC_URL",
        "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_TOKEN", "QSTASH_URL",
        "RENDER_EXTERNAL_URL", "RUN_DISPATCHER", "SECRET_KEY", "SECRET_KEY_FILE",
    ],
    "",
)  # fmt: skip
SECRET = {"SECRET_KEY": "only-for-the-tests-" * 3}
PRODUCTION = SECRET | {"PUBLIC_URL": "https://jobs.example.com"}


@pytest.fixture
def read(monkeypatch):
    """The settings as this environment makes them."""

    def read(**environment: str) -> dict[str, object]:
        for name, value in (EMPTY | SECRET | environment).items():
            monkeypatch.setenv(name, value)
        return runpy.run_path(str(ROOT / "jobsite" / "settings.py"))

    return read


def manage(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = EMPTY | {"DJANGO_SETTINGS_MODULE": "jobsite.settings"} | environment
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=os.environ | given,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("word", ["1", "true", "YES", " on "])
def test_yes_is_yes(monkeypatch, word):
    monkeypatch.setenv("DEBUG", word)
    assert flag("DEBUG") is True


@pytest.mark.parametrize("word", ["0", "False", "no", "off"])
def test_no_is_no(monkeypatch, word):
    monkeypatch.setenv("DEBUG", word)
    assert flag("DEBUG", default=True) is False


def test_neither_yes_nor_no_is_an_error(monkeypatch):
    monkeypatch.setenv("DEBUG", "maybe")
    with pytest.raises(ImproperlyConfigured, match="DEBUG='maybe' is not a yes or no. Use 1 or 0."):
        flag("DEBUG")


@pytest.mark.parametrize("text", ["0", "-1", "ten", "1.5", "²"])
def test_bad_number_is_an_error(monkeypatch, text):
    monkeypatch.setenv("PORT", text)
    with pytest.raises(ImproperlyConfigured, match="PORT=.* is not a whole number of at least 1"):
        number("PORT", 8000)


def test_empty_number_is_the_default(monkeypatch):
    monkeypatch.setenv("PORT", " ")
    assert number("PORT", 8000) == 8000


@pytest.mark.parametrize("text", ["jobs.example.com", "ftp://jobs.example.com", "https://"])
def test_bad_url_is_an_error(monkeypatch, text):
    monkeypatch.setenv("PUBLIC_URL", text)
    with pytest.raises(ImproperlyConfigured, match="PUBLIC_URL=.* is not a complete URL"):
        url("PUBLIC_URL")


def test_url_loses_its_trailing_slash(monkeypatch):
    monkeypatch.setenv("PUBLIC_URL", "https://jobs.example.com/")
    assert url("PUBLIC_URL") == "https://jobs.example.com"


PLATFORMS = {
    "PUBLIC_URL": "https://own.test",
    "RENDER_EXTERNAL_URL": "https://render.test",
    "HEROKU_APP_DEFAULT_DOMAIN_NAME": "heroku.test",
    "CODESPACE_NAME": "space",
}


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (0, "https://own.test"),
        (1, "https://render.test"),
        (2, "https://heroku.test"),
        (3, "https://space-8000.app.github.dev"),
        (4, ""),
    ],
)
def test_public_url_is_the_first_that_is_known(read, first, expected):
    assert read(**dict(list(PLATFORMS.items())[first:]))["PUBLIC_URL"] == expected


def test_our_own_host_is_allowed(read):
    settings = read(PUBLIC_URL="https://jobs.example.com")
    assert "jobs.example.com" in settings["ALLOWED_HOSTS"]
    assert settings["CSRF_TRUSTED_ORIGINS"] == ["https://jobs.example.com"]


@pytest.mark.parametrize(
    ("given", "region"),
    [("", "EU-CENTRAL-1"), ("us_east_1", "US-EAST-1"), ("US-EAST-1", "US-EAST-1")],
)
def test_region_is_one_that_sdks_know(read, given, region):
    assert read(BROKER_REGION=given)["BROKER_REGION"] == region


def test_unknown_region_is_an_error(read):
    with pytest.raises(ImproperlyConfigured, match="BROKER_REGION='MARS' is not EU-CENTRAL-1 or"):
        read(BROKER_REGION="mars")


def test_app_on_heroku_answers_to_the_domain_that_its_router_passes_on(read, monkeypatch):
    assert ".herokuapp.com" not in read()["ALLOWED_HOSTS"]
    monkeypatch.setenv("DYNO", "web.1")
    assert ".herokuapp.com" in read()["ALLOWED_HOSTS"]


def backend_of(settings: dict) -> str:
    return settings["TASKS"]["default"]["BACKEND"].removeprefix("jobs.backends.")


def test_token_chooses_the_hosted_queue(read):
    settings = read(QSTASH_TOKEN="token", QSTASH_CURRENT_SIGNING_KEY="c")
    assert (backend_of(settings), settings["RUN_DISPATCHER"]) == ("HostedQueue", False)
    assert settings["QSTASH_URL"] == "https://qstash.upstash.io"
    assert settings["QSTASH_NEXT_SIGNING_KEY"] == ""


def test_without_token_the_queue_is_ours_and_its_keys_are_derived(read):
    settings, again = read(), read()
    keys = [settings["QSTASH_CURRENT_SIGNING_KEY"], settings["QSTASH_NEXT_SIGNING_KEY"]]
    assert (backend_of(settings), settings["RUN_DISPATCHER"]) == ("EmbeddedQueue", True)
    assert len({*keys, settings["BROKER_TOKEN"], settings["SECRET_KEY"]}) == 4
    assert keys[0] == again["QSTASH_CURRENT_SIGNING_KEY"]
    assert keys[0] == settings["BROKER_ACCOUNTS"]["site"]["current"]


def test_derived_keys_change_with_the_secret(read):
    one, other = read(), read(SECRET_KEY="another-" * 8)
    assert one["QSTASH_CURRENT_SIGNING_KEY"] != other["QSTASH_CURRENT_SIGNING_KEY"]


def test_given_keys_come_first(read):
    settings = read(QSTASH_CURRENT_SIGNING_KEY="c", QSTASH_NEXT_SIGNING_KEY="n")
    site = settings["BROKER_ACCOUNTS"]["site"]
    assert (site["current"], site["next"]) == ("c", "n")
    assert settings["QSTASH_CURRENT_SIGNING_KEY"] == "c"


def test_further_accounts_have_tokens_and_keys_of_their_own(read):
    accounts = read(BROKER_ACCOUNTS="shop=t1, blog=dDI=", BROKER_READ_ONLY_TOKENS="shop=r1")[
        "BROKER_ACCOUNTS"
    ]
    assert list(accounts) == ["site", "shop", "blog"]
    assert (accounts["shop"]["token"], accounts["shop"]["read_only_token"]) == ("t1", "r1")
    assert accounts["blog"]["token"] == "dDI="
    assert len({account["current"] for account in accounts.values()}) == 3


SENDER = {"DEFAULT_FROM_EMAIL": "jobs@example.com"}


@pytest.mark.parametrize(
    ("url", "options"),
    [
        (
            "smtp://us%40er:pass%2Fword@mail.example.com:2525",
            {
                "host": "mail.example.com",
                "port": 2525,
                "username": "us@er",
                "password": "pass/word",
                "use_tls": True,
                "use_ssl": False,
            },
        ),
        ("smtps://mail.example.com", {"port": None, "use_tls": False, "use_ssl": True}),
        ("smtp+plain://localhost:25", {"port": 25, "use_tls": False, "use_ssl": False}),
    ],
)
def test_email_url_names_the_mail_server(read, url, options):
    settings = read(EMAIL_URL=url, **SENDER)
    given = settings["MAILERS"]["default"]["OPTIONS"]
    assert options.items() <= given.items()
    assert (given["timeout"], settings["MAIL_IS_ON"]) == (10, True)


def test_without_a_mail_server_mails_are_printed_in_development_and_off_otherwise(read):
    settings = read(DEBUG="1")
    assert settings["MAIL_IS_ON"]
    assert "console" in settings["MAILERS"]["default"]["BACKEND"]
    settings = read()
    assert (settings["MAIL_IS_ON"], settings["MAILERS"]) == (False, {})


@pytest.mark.parametrize("url", ["mail.example.com", "https://mail.example.com", "smtp://a:b"])
def test_wrong_mail_server_is_refused_without_telling_its_password(read, url):
    with pytest.raises(ImproperlyConfigured, match="EMAIL_URL is not a mail server's"):
        read(EMAIL_URL=url, **SENDER)


def test_mail_server_needs_a_sender(read):
    with pytest.raises(ImproperlyConfigured, match="DEFAULT_FROM_EMAIL is not set"):
        read(EMAIL_URL="smtp://mail.example.com")


@pytest.mark.parametrize(
    ("variable", "value", "text"),
    [
        ("BROKER_ACCOUNTS", "shop", "must be `name=value` pairs"),
        ("BROKER_READ_ONLY_TOKENS", "shop=r1", "there is no account 'shop'"),
        ("BROKER_LOG_DAYS", "0", "at least 1"),
    ],
)
def test_wrong_account_or_limit_is_refused(read, variable, value, text):
    with pytest.raises(ImproperlyConfigured, match=text):
        read(**{variable: value})


def test_sqlite_is_durable_and_takes_turns(read):
    database = read()["DATABASES"]["default"]
    assert database["OPTIONS"]["transaction_mode"] == "IMMEDIATE"
    assert "journal_mode=WAL; PRAGMA synchronous=FULL" in database["OPTIONS"]["init_command"]


@pytest.mark.skipif(connection.vendor != "sqlite", reason="these are SQLite's")
@pytest.mark.parametrize(
    ("pragma", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("wal_autocheckpoint", 4000)]
)
def test_connection_has_the_options_of_the_settings(pragma, value, transactional_db):
    with another_cursor() as cursor:
        assert cursor.execute(f"PRAGMA {pragma}").fetchone() == (value,)


def test_database_url_chooses_postgresql_with_a_pool(read):
    database = read(DATABASE_URL="postgresql://a:b@db.test/site")["DATABASES"]["default"]
    assert (database["ENGINE"], database["HOST"]) == ("groupcommit.postgresql", "db.test")
    assert database["OPTIONS"]["pool"]


def test_options_of_the_database_url_are_kept(read):
    url = "postgresql://a:b@db.test/site?sslmode=require&connect_timeout=9"
    options = read(DATABASE_URL=url)["DATABASES"]["default"]["OPTIONS"]
    assert (options["sslmode"], options["connect_timeout"]) == ("require", 9)
    assert options["pool"]


@pytest.mark.parametrize(
    ("environment", "https"),
    [
        ({"PUBLIC_URL": "https://jobs.example.com"}, True),
        ({}, True),
        ({"PUBLIC_URL": "http://127.0.0.1:8000"}, False),
        ({"DEBUG": "1"}, False),
    ],
)
def test_https_is_the_rule(read, environment, https):
    settings = read(**environment)
    assert settings["SECURE_SSL_REDIRECT"] is https
    assert settings["SESSION_COOKIE_SECURE"] is settings["CSRF_COOKIE_SECURE"] is https
    assert bool(settings["SECURE_HSTS_SECONDS"]) is https


@pytest.mark.parametrize("platform", ["RENDER", "DYNO"])
def test_proxy_header_is_trusted_only_where_a_proxy_is_known(read, monkeypatch, platform):
    assert "SECURE_PROXY_SSL_HEADER" not in read()
    monkeypatch.setenv(platform, "web.1")
    assert read()["SECURE_PROXY_SSL_HEADER"] == ("HTTP_X_FORWARDED_PROTO", "https")


def test_production_without_secret_key_refuses_to_start():
    done = manage("check")
    assert done.returncode != 0
    assert "SECRET_KEY is not set. Set it to a long random text" in done.stderr


def test_production_values_pass_the_deployment_check():
    behind = PRODUCTION | {"PROXIES": "1"}
    done = manage("check", "--deploy", "--fail-level", "WARNING", **behind)
    assert (done.returncode, done.stderr) == (0, "")


def test_secret_key_may_be_in_a_file(read, tmp_path):
    (tmp_path / "secret").write_text("from-the-file\n")
    settings = read(SECRET_KEY="", SECRET_KEY_FILE=str(tmp_path / "secret"))
    assert settings["SECRET_KEY"] == "from-the-file"


def test_secret_key_that_is_given_comes_before_the_file(read, tmp_path):
    settings = read(SECRET_KEY="given", SECRET_KEY_FILE=str(tmp_path / "secret"))
    assert settings["SECRET_KEY"] == "given"
    assert list(tmp_path.iterdir()) == []


def test_secret_is_made_once_and_for_its_owner_only(tmp_path):
    file = tmp_path / "secret"
    first = kept_secret(file)
    assert (kept_secret(file), file.read_text()) == (first, first)
    assert len(first) >= 50
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


@pytest.fixture
def queue_alone(read, monkeypatch):
    """The settings of `manage.py broker` as this environment makes them."""

    def queue_alone(**environment: str) -> dict[str, object]:
        read(**environment)
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "jobsite.settings")
            return runpy.run_path(str(ROOT / "jobsite" / "broker_settings.py"))

    return queue_alone


def test_queue_alone_has_no_pages_and_takes_any_host(queue_alone):
    settings = queue_alone()
    assert settings["INSTALLED_APPS"] == ["broker", "operations.apps.MetricsConfig"]
    assert settings["MIDDLEWARE"] == [
        "jobsite.middleware.RequestIdMiddleware",
        "jobsite.unavailable.UnavailableMiddleware",
    ]
    assert settings["ROOT_URLCONF"] == "jobsite.broker_urls"
    assert settings["ALLOWED_HOSTS"] == ["*"]


@pytest.mark.parametrize(
    ("value", "wanted", "published"), [("", True, False), ("0", False, False), ("1", True, True)]
)
def test_published_users_are_let_in_only_if_they_are_asked_for(
    queue_alone, value, wanted, published
):
    settings = queue_alone(BROKER_DEV_USERS=value)
    assert settings["BROKER_DEV_USERS_WANTED"] is wanted
    assert settings["BROKER_DEV_USERS"] is published
    assert ("defaultUser" in settings["BROKER_ACCOUNTS"]) is published


def test_site_never_lets_the_published_users_in(read):
    settings = read(BROKER_DEV_USERS="1")
    assert settings["BROKER_DEV_USERS"] is False
    assert list(settings["BROKER_ACCOUNTS"]) == ["site"]


def test_queue_alone_passes_the_system_check():
    module = {"DJANGO_SETTINGS_MODULE": "jobsite.broker_settings"}
    done = manage("check", **PRODUCTION | module)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_variable_that_is_read_is_in_the_example():
    modules = ["jobsite/settings.py", "jobsite/broker_settings.py", "gunicorn.conf.py"]
    code = "\n".join((ROOT / module).read_text() for module in modules)
    read = set(
        re.findall(r'(?:flag|number|url|pairs|env\.get|variables\.get)\(\s*"([A-Z_]+)"', code)
    )
    platform = {"RENDER_EXTERNAL_URL", "HEROKU_APP_DEFAULT_DOMAIN_NAME", "CODESPACE_NAME"}
    example = re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(read - platform) == sorted(example)


def test_example_begins_with_what_the_tutorial_needs():
    example = re.findall(r"^([A-Z_]+)=$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert example[:8] == [
        "DEBUG", "SECRET_KEY", "PUBLIC_URL", "LONG_TASK_TARGET_URL", "QSTASH_TOKEN",
        "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_URL",
    ]  # fmt: skip


FOLDERS = (
    *("jobsite", "jobs", "broker", "catcher", "groupcommit"),
    *("logfields", "recipes", "operations"),
)


def test_settings_are_the_only_reader_of_the_environment():
    readers = [
        file.relative_to(ROOT).as_posix()
        for folder in FOLDERS
        for file in (ROOT / folder).rglob("*.py")
        # `os.environ |` reads no variable: it passes all of them on to a child process.
        if re.search(r"getenv|\benviron\b(?!\.setdefault| \|)", file.read_text())
    ]
    assert readers == ["jobsite/settings.py"]


@pytest.mark.parametrize(("given", "used"), [("", "text"), ("text", "text"), ("JSON", "json")])
def test_log_has_the_format_that_is_asked_for(read, given, used):
    assert read(LOG_FORMAT=given)["LOGGING"]["handlers"]["stderr"]["formatter"] == used


def test_unknown_format_of_the_log_is_refused(read):
    with pytest.raises(ImproperlyConfigured, match="neither text nor json"):
        read(LOG_FORMAT="xml")


def test_processes_of_one_site_count_in_one_folder_and_other_sites_in_another(read):
    folder = read()["METRICS_FOLDER"]
    assert folder == read()["METRICS_FOLDER"]
    assert folder != read(DATABASE_URL="sqlite:///other.sqlite3")["METRICS_FOLDER"]
    assert str(read(PROMETHEUS_MULTIPROC_DIR="/run/m")["METRICS_FOLDER"]) == "/run/m"


def test_worker_imports_what_is_there_now_and_not_what_the_master_has_imported(monkeypatch):
    """SIGHUP starts new workers from a master that has imported the version before."""
    gunicorn = runpy.run_path(str(ROOT / "gunicorn.conf.py"))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    assert "broker.open_files" in sys.modules
    gunicorn["post_fork"](None, None)
    left = {name.partition(".")[0] for name in sys.modules}
    assert not left & {"broker", "jobsite", "logfields"}
    assert {"os", "django"} <= left
