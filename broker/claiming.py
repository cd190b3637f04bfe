"""Claim messages that are due, for one dispatcher and the time of a lease.

Messages wait in their table, some of them in lanes. A claim makes messages ACTIVE under a
dispatcher's name; the dispatcher renews it while it delivers them, and settling.py ends it.
If a lease ends before it is renewed, its dispatcher is presumed dead and the message is due
again.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from django.db import connection

from broker import firing, lanes, wakeup
from broker.accounts import current_keys
from broker.cancelling import end_canceled
from broker.models import CLAIMED_STATES, Event, Message, Row, State
from broker.models.log import ADD_LINES
from groupcommit.statements import one_by_one, places, update_all

LOST = "the attempt was lost: its dispatcher stopped renewing its claim"
GIVEN_BACK = "the attempt was given up: its dispatcher stopped"
JOIN_AT_ONCE = 500
# A dispatcher does not take its own expired claims: their renewal is only late.
NOT_MINE = "claimed_by <> %s"
NO_LANE = "in_lanes IS NULL"


class ClaimTerms(NamedTuple):
    """Who claims, when (unix ms), for how long, and how many at most.

    Messages to `crowded` hosts are left for later: they take up half of the dispatcher already.
    """

    dispatcher: str
    now: int
    lease_ms: int
    limit: int
    crowded: tuple[str, ...] = ()


class ClaimedMessages(NamedTuple):
    """What a claim has got: rows for `Message.from_row`, each account's signing key, and when to
    claim again (unix ms). Rows, because the write lock is held while this is made.
    """

    rows: list[Row]
    keys: dict[str, str]
    next_due_at: int | None

    @property
    def ids(self) -> list[int]:
        return [row[0] for row in self.rows]


@one_by_one
def claim(terms: ClaimTerms) -> ClaimedMessages:
    """Claim messages that have no lane."""
    due = recover(find_due(f"id, state FROM broker_message WHERE {NO_LANE}", terms), terms.now)
    return claimed_messages(activate(due, terms, "due_at <= %s", [terms.now]), terms)


@lanes.locked
@one_by_one
def claim_from_lanes(terms: ClaimTerms) -> ClaimedMessages:
    """Publish what is scheduled, and claim the messages that the lanes release."""
    if firing.publish_due(terms.now):
        wakeup.on_commit()
    join_lanes(terms)
    released = lanes.release(terms.now, terms.limit)
    return claimed_messages(activate(released, terms, "lane IS NOT NULL", []), terms)


def find_due(what: str, terms: ClaimTerms) -> list[Row]:
    """Return columns of messages that are due and that no other transaction is claiming."""
    skip = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    if terms.crowded:
        what += f" AND host NOT IN {places(1, len(terms.crowded))}"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT {what} AND due_at <= %s AND {NOT_MINE} ORDER BY due_at, id LIMIT %s{skip}",
            [*terms.crowded, terms.now, terms.dispatcher, terms.limit],
        )
        rows: list[Row] = cursor.fetchall()
    return rows


def claimed_messages(rows: list[Row], terms: ClaimTerms) -> ClaimedMessages:
    keys = current_keys() if rows else {}
    return ClaimedMessages(rows, keys, next_due_at(terms.dispatcher, terms.now))


def recover(due: list[Row], now: int) -> list[int]:
    """Log attempts that were lost with their dispatcher; return which messages are to be tried.

    `due` are messages that are due; each row begins with the primary key and the state.
    """
    end_canceled([row[0] for row in due if row[1] == State.CANCEL_REQUESTED], now)
    lost = [row[0] for row in due if row[1] == State.ACTIVE]
    Event.objects.log(lost, State.ERROR, now, LOST)
    return [row[0] for row in due if row[1] != State.CANCEL_REQUESTED]


def activate(messages: list[int], terms: ClaimTerms, still: str, values: list[int]) -> list[Row]:
    """Make messages ACTIVE where the condition `still` holds, log that, and return their rows."""
    if not messages:
        return []
    columns = ", ".join(Message.columns())
    sql = (
        "UPDATE broker_message SET state = 'ACTIVE', claimed_by = %s, due_at = %s,"
        " lane = NULL, runs_in = flow_control_key,"
        " slot = CASE WHEN queue_name IS NULL THEN NULL ELSE COALESCE(slot, id) END"
        f" WHERE id IN {places(1, len(messages))} AND {still} AND {NOT_MINE} RETURNING {columns}"
    )
    given: list[Any] = [terms.dispatcher, terms.now + terms.lease_ms, *messages, *values]
    given.append(terms.dispatcher)
    # One statement, as two take 0.3 ms longer on an idle machine. SQLite's WITH cannot write.
    if logs_too := connection.vendor == "postgresql":
        sql = f"WITH u AS ({sql}), e AS ({ADD_LINES} u ORDER BY id) SELECT {columns} FROM u"
        given += [State.ACTIVE, terms.now, "", b""]
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        rows: list[Row] = cursor.fetchall()
    if not logs_too:
        Event.objects.log([row[0] for row in rows], State.ACTIVE, terms.now)
    return rows


def join_lanes(terms: ClaimTerms) -> None:
    """Put messages that are due into their lanes: delayed ones, retries, and lost ones."""
    rows = find_due(
        "id, state, account, queue_name, flow_control_key FROM broker_message WHERE in_lanes = 1",
        terms._replace(limit=JOIN_AT_ONCE, crowded=()),
    )
    again = set(recover(rows, terms.now))
    joining = [row for row in rows if row[0] in again]
    if not joining:
        return
    into = [(account, lanes.first_lane(queue, key)) for _, _, account, queue, key in joining]
    taken = lanes.take_places(into, terms.now)
    update_all(
        "WITH v(id, lane, place, now) AS ({rows}) UPDATE broker_message SET lane = v.lane,"
        " place = v.place, due_at = NULL, claimed_by = '', runs_in = NULL,"
        " state = CASE WHEN state = 'ACTIVE' THEN 'RETRY' ELSE state END"
        " FROM v WHERE broker_message.id = v.id AND due_at <= v.now",
        [
            (row[0], lane, place, terms.now)
            for row, (_, lane), place in zip(joining, into, taken, strict=True)
        ],
    )


def next_due_at(dispatcher: str, now: int) -> int | None:
    """Return when there will be something to do that a dispatcher does not do already.

    It is not after `now` if lanes or schedules are due: `claim_from_lanes` is for them.
    """
    future = f"SELECT due_at FROM broker_message WHERE {NOT_MINE} AND due_at > %s"
    lanes_due = f"SELECT due_at FROM broker_message WHERE {NOT_MINE} AND in_lanes = 1"
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT MIN(due_at) FROM (SELECT * FROM ({future} ORDER BY due_at, id LIMIT 1) AS one"
            f" UNION ALL SELECT * FROM ({lanes_due} AND due_at IS NOT NULL"
            " ORDER BY due_at, id LIMIT 1) AS two"
            " UNION ALL SELECT MIN(due_at) FROM broker_queue WHERE due_at IS NOT NULL"
            " UNION ALL SELECT MIN(due_at) FROM broker_flowcontrol WHERE due_at IS NOT NULL"
            " UNION ALL SELECT MIN(next_at) FROM broker_schedule WHERE next_at IS NOT NULL)"
            " AS moments",
            [dispatcher, now, dispatcher],
        )
        moment: int | None = cursor.fetchone()[0]
    return moment


def renew(dispatcher: str, now: int, lease_ms: int) -> int:
    """Renew every claim a dispatcher holds; return how many."""
    held = Message.objects.filter(
        state__in=CLAIMED_STATES, claimed_by=dispatcher, due_at__isnull=False
    )
    return held.update(due_at=now + lease_ms)


def give_back(
    dispatcher: str, now: int, but: Collection[int] = (), reason: str = GIVEN_BACK
) -> int:
    """Make what a dispatcher will not finish due again at once; return how many messages.

    `but` are the primary keys of messages that it keeps.
    """
    held = Message.objects.filter(claimed_by=dispatcher, due_at__isnull=False).exclude(id__in=but)
    held.filter(state=State.CANCEL_REQUESTED).update(due_at=now, claimed_by="")
    active = held.filter(state=State.ACTIVE)
    Event.objects.log(list(active.values_list("id", flat=True)), State.ERROR, now, reason)
    return active.update(state=State.RETRY, claimed_by="", due_at=now, runs_in=None)
