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
from broker.accounts import current_key
from broker.cancelling import end_canceled
from broker.models import CLAIMED_STATES, WAITING_STATES, Message, Row, State
from broker.models.log import ADD_LINES, add_line
from groupcommit.raw import execute, without_flush
from groupcommit.statements import one_by_one, places, update_all
from groupcommit.writer import single_statement

LOST = "the attempt was lost: its dispatcher stopped renewing its claim"
GIVEN_BACK = "the attempt was given up: its dispatcher stopped"
JOIN_AT_ONCE = 500
# A dispatcher does not take its own expired claims: their renewal is only late.
NOT_MINE = "claimed_by <> %s"
NO_LANE = "in_lanes IS NULL"
WAITING = "state IN ('{}', '{}')".format(*WAITING_STATES)
ROTATED = "FROM broker_signingkeys AS keys WHERE keys.account = broker_message.account"
ROTATED_KEYS = f"(SELECT configured {ROTATED}) AS configured, (SELECT current {ROTATED}) AS current"
ACCOUNT = Message.columns().index("account")

type Query = tuple[str, list[Any]]  # SQL, and its values


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


@single_statement
@one_by_one
def claim(terms: ClaimTerms) -> ClaimedMessages:
    """Claim messages that wait and have no lane."""
    waiting = due("id", f"{NO_LANE} AND {WAITING}", [], terms)
    return claimed_messages(activate(waiting, terms), terms)


@lanes.locked
@one_by_one
def claim_rest(terms: ClaimTerms) -> ClaimedMessages:
    """Publish what is scheduled, and claim what was lost and what the lanes release.

    Looking only for what was lost would take longer the more messages wait. So up to half of a
    claim goes to the messages that have been due longest, lost or not.
    """
    if firing.publish_due(terms.now):
        wakeup.on_commit()
    half = terms._replace(limit=(terms.limit + 1) // 2)
    oldest = find("id, state", f"{NO_LANE} AND {NOT_MINE}", [terms.dispatcher], half)
    rows = activate_these(recover(oldest, terms.now), "due_at IS NOT NULL", terms)
    join_lanes(terms)
    released = lanes.release(terms.now, terms.limit - len(rows))
    rows += activate_these(released, "lane IS NOT NULL", terms)
    claimed = claimed_messages(rows, terms)
    if any(state in CLAIMED_STATES for _, state in oldest):  # there may be more of them
        return claimed._replace(next_due_at=terms.now)
    return claimed


def due(columns: str, which: str, values: list[Any], terms: ClaimTerms) -> Query:
    """Select messages that are due and that no other transaction is claiming."""
    if terms.crowded:
        which += f" AND host NOT IN {places(1, len(terms.crowded))}"
    skip = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    sql = (
        f"SELECT {columns} FROM broker_message WHERE {which} AND due_at <= %s"
        f" ORDER BY due_at, id LIMIT %s{skip}"
    )
    return sql, [*values, *terms.crowded, terms.now, terms.limit]


def find(columns: str, which: str, values: list[Any], terms: ClaimTerms) -> list[Row]:
    """Return columns of messages that are due."""
    return execute(*due(columns, which, values, terms))


def claimed_messages(rows: list[Row], terms: ClaimTerms) -> ClaimedMessages:
    """Take the keys from the last columns of the rows. A full claim may have left some messages,
    so the next claim is due at once.
    """
    keys = {row[ACCOUNT]: current_key(row[ACCOUNT], *row[-2:]) for row in rows}
    may_be_more = len(rows) == terms.limit
    again_at = terms.now if may_be_more else next_due_at(terms.now)
    return ClaimedMessages(rows, keys, again_at)


def recover(due: list[Row], now: int) -> list[int]:
    """Log attempts that were lost with their dispatcher; return which messages are to be tried.

    `due` are messages that are due; each row begins with the primary key and the state.
    """
    end_canceled([row[0] for row in due if row[1] == State.CANCEL_REQUESTED], now)
    lost = [row[0] for row in due if row[1] == State.ACTIVE]
    add_line(lost, State.ERROR, now, LOST)
    return [row[0] for row in due if row[1] != State.CANCEL_REQUESTED]


def activate_these(messages: list[int], still: str, terms: ClaimTerms) -> list[Row]:
    """Claim messages by primary key where the condition `still` holds; the caller's transaction has
    locked them, or all lanes.
    """
    if not messages:
        return []
    sql = f"SELECT id FROM broker_message WHERE id IN {places(1, len(messages))} AND {still}"
    return activate((f"{sql} AND {NOT_MINE}", [*messages, terms.dispatcher]), terms)


def activate(query: Query, terms: ClaimTerms) -> list[Row]:
    """Make the messages that a query finds ACTIVE, log that, and return their rows.

    Each ends with its account's rotated keys, as `current_key` takes them.
    """
    is_postgresql = connection.vendor == "postgresql"
    columns = ", ".join(Message.columns())
    # An array is made once, and PostgreSQL plans as if it were small, however many are waiting.
    among = "= ANY(ARRAY({}))" if is_postgresql else "IN ({})"
    sql = (
        "UPDATE broker_message SET state = 'ACTIVE', claimed_by = %s, due_at = %s,"
        " lane = NULL, runs_in = flow_control_key,"
        " slot = CASE WHEN queue_name IS NULL THEN NULL ELSE COALESCE(slot, id) END"
        f" WHERE id {among.format(query[0])}"
        f" RETURNING {columns}{without_flush()}, {ROTATED_KEYS}"
    )
    given: list[Any] = [terms.dispatcher, terms.now + terms.lease_ms, *query[1]]
    # One statement, as each one takes 0.2 ms on an idle machine. SQLite's WITH cannot write.
    if is_postgresql:
        sql = f"WITH u AS ({sql}), e AS ({ADD_LINES} u ORDER BY id) SELECT * FROM u"
        given += [State.ACTIVE, terms.now, "", b""]
    rows = execute(sql, given)
    if not is_postgresql:
        add_line([row[0] for row in rows], State.ACTIVE, terms.now)
    return rows


def join_lanes(terms: ClaimTerms) -> None:
    """Put messages that are due into their lanes: delayed ones, retries, and lost ones."""
    rows = find(
        "id, state, account, queue_name, flow_control_key",
        f"in_lanes = 1 AND {NOT_MINE}",
        [terms.dispatcher],
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


def next_due_at(now: int) -> int | None:
    """Return when there will be something to do, not counting messages that may be lost by then.

    It is not after `now` if lanes or schedules are due: `claim_rest` is for them.
    """
    future = f"SELECT due_at FROM broker_message WHERE {WAITING} AND due_at > %s"
    lanes_due = (
        f"SELECT due_at FROM broker_message WHERE {WAITING} AND in_lanes = 1 AND due_at IS NOT NULL"
    )
    [row] = execute(
        f"SELECT MIN(due_at) FROM (SELECT * FROM ({future} ORDER BY due_at, id LIMIT 1) AS one"
        f" UNION ALL SELECT * FROM ({lanes_due} ORDER BY due_at, id LIMIT 1) AS two"
        " UNION ALL SELECT MIN(due_at) FROM broker_queue WHERE due_at IS NOT NULL"
        " UNION ALL SELECT MIN(due_at) FROM broker_flowcontrol WHERE due_at IS NOT NULL"
        " UNION ALL SELECT MIN(next_at) FROM broker_schedule WHERE next_at IS NOT NULL)"
        " AS moments",
        [now],
    )
    moment: int | None = row[0]
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
    add_line(list(active.values_list("id", flat=True)), State.ERROR, now, reason)
    return active.update(state=State.RETRY, claimed_by="", due_at=now, runs_in=None)
