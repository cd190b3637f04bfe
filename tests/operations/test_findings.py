"""A finding is shown without secrets, whatever an error quotes."""

from operations.findings import OK, Finding, without_secrets


def test_secrets_are_hidden_wherever_they_stand(settings, monkeypatch):
    monkeypatch.setitem(settings.DATABASES["default"], "PASSWORD", "of-the-database")
    settings.EMAIL_URL = "smtp://me:of-the-mail@mail.test"
    settings.MAILERS = {"default": {"OPTIONS": {"password": "of-the/mail"}}}
    secrets = ["of-the-database", "of-the-mail", "of-the/mail", settings.SECRET_KEY]
    shown = without_secrets(Finding("Mail", OK, *[f"a {s} b" for s in secrets[:2]],
                                    (("x", secrets[2]), ("y", secrets[3]))))  # fmt: skip
    assert shown == Finding("Mail", OK, "a •••• b", "a •••• b", (("x", "••••"), ("y", "••••")))


def test_finding_as_json():
    assert Finding("Mail", OK, "off", facts=(("a", "b"),)).as_json() == {
        "name": "Mail", "state": "ok", "words": "off", "remedy": "", "facts": {"a": "b"},
    }  # fmt: skip
