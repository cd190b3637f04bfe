"""The environment becomes settings, or a sentence that says what is wrong with it."""

import os
import runpy
import subprocess
import sys

import pytest
from django.core.exceptions import ImproperlyConfigured

from harness.processes import ROOT
from jobsite.settings import flag, number, url

EMPTY = dict.fromkeys(
    [
        "ALLOWED_HOSTS", "BROKER_TOKEN", "CODESPACE_NAME", "DATABASE_URL", "DEBUG",
        "HEROKU_APP_DEFAULT_DOMAIN_NAME", "LONG_TASK_TARGET_URL", "PORT", "PUBLIC_URL",
        "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY", "QSTASH_TOKEN", "QSTASH_URL",
        "RENDER_EXTERNAL_URL", "RUN_DISPATCHER", "SECRET_KEY",
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
    with pytest.raises(ImproperlyConfigured, match="PUBLIC_URL=.* is not a URL"):
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


def test_token_chooses_the_hosted_queue(read):
    settings = read(QSTASH_TOKEN="token", QSTASH_CURRENT_SIGNING_KEY="c")
    assert (settings["QUEUE_BACKEND"], settings["RUN_DISPATCHER"]) == ("hosted", False)
    assert settings["QSTASH_URL"] == "https://qstash.upstash.io"
    assert settings["QSTASH_NEXT_SIGNING_KEY"] == ""


def test_without_token_the_queue_is_ours_and_its_keys_are_derived(read):
    settings, again = read(), read()
    keys = [settings["QSTASH_CURRENT_SIGNING_KEY"], settings["QSTASH_NEXT_SIGNING_KEY"]]
    assert (settings["QUEUE_BACKEND"], settings["RUN_DISPATCHER"]) == ("embedded", True)
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


def test_database_url_chooses_postgresql_with_a_pool(read):
    database = read(DATABASE_URL="postgresql://a:b@db.test/site")["DATABASES"]["default"]
    assert (database["ENGINE"], database["HOST"]) == ("django.db.backends.postgresql", "db.test")
    assert database["OPTIONS"]["pool"]


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
    done = manage("check", "--deploy", "--fail-level", "WARNING", **PRODUCTION)
    assert (done.returncode, done.stderr) == (0, "")
