"""Ids cannot be guessed, and those of messages grow with time."""

import re

from broker.ids import new_id, new_message_id


def test_id_begins_with_what_it_names():
    assert re.fullmatch(r"scd_[0-9a-f]{28}", new_id("scd"))


def test_no_two_ids_are_equal():
    assert len({new_id("x") for _ in range(100)} | {new_message_id() for _ in range(100)}) == 200


def test_later_message_has_the_larger_id():
    first = new_message_id()
    while (second := new_message_id())[:16] == first[:16]:
        pass
    assert first < second
