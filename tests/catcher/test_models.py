"""What a bin keeps, how a caught request reads in a list, and what a bin answers."""

import re

import pytest

from catcher.models import (
    KEPT,
    Bin,
    Entry,
    Version,
    change,
    clear,
    keep,
    summaries,
    version_of,
)


def test_entry_is_named_for_its_request():
    assert str(Entry(method="POST", path="/catcher/b/")) == "POST /catcher/b/"


def test_bin_is_named():
    assert str(Bin(name="b")) == "bin b"


def test_body_reads_as_its_content_type_says():
    headers = [["content-TYPE", "text/plain; charset=iso-8859-1"]]
    assert Entry(body=b"w\xf6rld", headers=headers).text == "wörld"


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/catcher/b/", "/"),
        ("/catcher/b", "/"),
        ("/catcher/b/deep/path?x=1", "/deep/path?x=1"),
        ("/catcher/b?x=1", "?x=1"),
    ],
)
def test_list_shows_the_path_below_the_bin(path, own):
    assert Entry(bin="b", path=path).own_path == own


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", ""),
        (b"one\n  two", "one two"),
        (b'{"hello": "world"}', '{ "hello": "world" }'),
        (b"\x89PNG\0", "binary data"),
        ("€".encode() * 1000, "€" * 40),
    ],
)
@pytest.mark.django_db
def test_list_shows_the_beginning_of_a_body_in_one_line(body, excerpt):
    keep([Entry(bin="b", method="POST", path="/", body=body)])
    assert Entry.objects.bin("b").rows().get().excerpt == excerpt


@pytest.mark.django_db
def test_list_reads_no_whole_body(django_assert_num_queries):
    keep([Entry(bin="b", method="POST", path="/catcher/b/", body=b"x" * 60_000)] * 3)
    with django_assert_num_queries(1) as queries:
        assert [
            (row.own_path, row.excerpt, row.status) for row in Entry.objects.bin("b").rows()
        ] == [("/", "x" * 120, 200)] * 3
    sql = queries.captured_queries[0]["sql"]
    beginnings = re.findall(r'SUBSTR(?:ING)?\("catcher_entry"\."body", 1, 120\)', sql)
    assert sql.count('"body"') == len(beginnings) == 1


@pytest.mark.django_db
def test_nothing_is_dropped_of_a_small_bin():
    Entry.objects.create(bin="b", method="POST", path="/", body=b"")
    assert Entry.objects.drop_oldest("b") == 0
    assert Entry.objects.bin("b").exists()


@pytest.mark.django_db
def test_entry_gets_the_status_of_its_bin_unless_it_brings_one():
    change([("b", {"status": 503})])
    entries = [Entry(bin=name, method="POST", path="/", body=b"") for name in "ab"]
    entries.append(Entry(bin="b", method="POST", path="/", body=b"", status=201))
    answers = keep(entries)
    assert [entry.status for entry in entries] == [200, 503, 201]
    assert [answer.status for answer in answers] == [200, 503, 503]
    assert list(Entry.objects.order_by("id").values_list("status", flat=True)) == [200, 503, 201]


@pytest.mark.django_db
def test_cleared_bin_is_empty_and_others_are_not():
    keep([Entry(bin=name, method="POST", path="/", body=b"") for name in "aab"])
    assert clear(["a"]) == [2]
    assert list(Entry.objects.values_list("bin", flat=True)) == ["b"]


@pytest.mark.django_db
def test_every_change_and_every_request_gives_a_bin_another_version():
    versions = [version_of("b")]
    for act in (
        lambda: keep([Entry(bin="b", method="POST", path="/", body=b"")]),
        lambda: change([("b", {"status": 404})]),
        lambda: clear(["b"]),
    ):
        act()
        versions.append(version_of("b"))
    assert len(set(versions)) == 4
    assert versions[0] == (0, 0, 0)
    assert Bin.named("b").status == 404


@pytest.mark.parametrize("text", ["", "1", "1-2", "1-2-3-4", "1-2-x", "1-2-²", "-1-2-3", "9" * 40])
def test_strange_version_is_none(text):
    assert Version.parsed(text) is None


def test_version_is_read_as_it_is_written():
    assert Version.parsed(str(Version(12, 3, 0))) == (12, 3, 0)


@pytest.mark.django_db
def test_summaries_are_in_the_order_asked_for(django_assert_num_queries):
    keep([Entry(bin="b", method="POST", path="/", body=b"")] * 2)
    with django_assert_num_queries(1):
        found = summaries(["a", "b"])
    assert [(one.name, one.total, bool(one.newest_at)) for one in found] == [
        ("a", 0, False),
        ("b", 2, True),
    ]


def test_a_bin_keeps_five_hundred():
    assert KEPT == 500
