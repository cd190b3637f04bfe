"""Find messages and dead letters in the database: newest first, in a bounded time.

No message is changed here. An index leads along the messages, or along those of a queue, a
schedule, a state or with a label; whatever else is asked for is compared row by row, for at most
50,000 rows a page. A search that ends there says so, and its cursor goes on from there.
"""

from collections.abc import Callable
from functools import cached_property

from django.db import models
from django.db.models import BinaryField, Min, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.expressions import RawSQL
from django.db.models.fields import BooleanField
from django.db.models.functions import StrIndex, Substr
from django.db.models.lookups import GreaterThan

from broker.api.dead_letters import choose
from broker.api.filters import Selectors, date_condition, message_condition
from broker.api.filters import values as values_of
from broker.api.pages import read_pair
from broker.clock import now_ms
from broker.models import DeadLetter, Event, Message, State
from broker.options import quoted
from console.filters import STATES, Filters
from console.interface import MOST_COUNTED, PAGE, Count

ACCOUNT = "site"
# How many rows a search compares: first a few, then, if those do not fill a page, as many as
# take 60 ms on SQLite.
COMPARED = (2_000, 50_000)
# So many messages that are not over are looked up one by one.
FEW = 1000

IN_STATE = {
    "scheduled": [State.CREATED],
    "queued": [State.CREATED],
    "running": [State.ACTIVE, State.CANCEL_REQUESTED],
    "waiting": [State.RETRY],
    "succeeded": [State.DELIVERED],
    "failed": [State.FAILED],
    "cancelled": [State.CANCELED],
}
# What a list shows of a dead letter's answer, and where it looks for a job's id.
ANSWER_BYTES, BODY_BYTES = 800, 100
UNFINISHED = ("scheduled", "queued", "running", "waiting")
NEWEST = ("-created_at", "-id")
# The conditions of partial indexes, as SQLite recognizes them: with their values in the text.
ENDED_BADLY = "broker_message.state IN ('FAILED', 'CANCELED')"
SCHEDULED = "broker_message.schedule_id > ''"
LABELLED = "broker_message.labels > ''"


def literally(sql: str) -> RawSQL:
    return RawSQL(sql, [], output_field=BooleanField())  # noqa: S611  constants of this module


def url_condition(selectors: Selectors, column: str) -> Q:
    """Whether a part of a row's URL is what is asked for; compared row by row."""
    if "url" not in selectors:
        return Q()
    condition = Q(pk__in=[])
    for part in values_of(selectors, "url"):
        condition |= Q(GreaterThan(StrIndex(column, Value(quoted(part))), 0))
    return condition


def without_url(selectors: Selectors) -> Selectors:
    return {name: given for name, given in selectors.items() if name != "url"}


class Search:
    """The messages that filters choose, but for a state; `cursor` is where a page begins."""

    def __init__(self, filters: Filters, cursor: str = "") -> None:
        self.filters, self.cut = filters, False
        selectors = filters.selectors
        self.condition = message_condition(without_url(selectors)) & url_condition(selectors, "url")
        self.now = now_ms()
        self.dates = date_condition(selectors, "created_at") & after(cursor)
        self.ends: dict[str, int | None] = {}

    def all(self, state: str) -> QuerySet[Message]:
        """All that match, in a state or in any, however long that takes to find."""
        found = Message.objects.filter(self.condition, self.dates, account=ACCOUNT)
        return found.filter(self.in_state(state)) if state else found

    def in_state(self, state: str) -> Q:
        wanted = IN_STATE[state]
        condition = Q(state=wanted[0]) if len(wanted) == 1 else Q(state__in=wanted)
        if state == "scheduled":
            return condition & Q(not_before__gt=self.now)
        return condition & Q(not_before__lte=self.now) if state == "queued" else condition

    def bounded(self, state: str, most: int) -> QuerySet[Message]:
        """Those of them that can be found quickly; `cut` says whether there may be more."""
        self.cut = False
        if state in UNFINISHED and self.few_unfinished is not None:
            return self.all(state).filter(pk__in=self.few_unfinished)
        return self.compared(self.all(state), self.led_by_an_index(state), most)

    def compared(self, found: QuerySet[Message], led: Q | None, most: int) -> QuerySet[Message]:
        """Those of the first `most` rows of an index."""
        if led is None:
            return found
        oldest = self.oldest_compared(led, most)
        if oldest is None:
            return found.filter(led)
        self.cut = True
        return found.filter(led, created_at__gte=oldest)

    def first[T: (int, list[Message])](
        self, state: str, number: int, take: Callable[[QuerySet[Message]], T]
    ) -> T:
        """Take the first few, of a few rows that are compared and then of many."""
        for most in COMPARED:
            found = take(self.bounded(state, most).order_by(*NEWEST)[:number])
            if not self.cut or (found if isinstance(found, int) else len(found)) >= number:
                break
        return found

    def led_by_an_index(self, state: str) -> Q | None:
        """The condition whose rows an index lists newest first; None if that is all there is."""
        selectors = self.filters.selectors
        if (queue := self.one("queueName")) is not None:
            return Q(queue_name=queue)
        if (schedule := self.one("scheduleId")) is not None:
            return Q(literally(SCHEDULED), schedule_id=schedule)
        if state in {"failed", "cancelled"}:
            return Q(literally(ENDED_BADLY), state=IN_STATE[state][0])
        if "label" in selectors:
            return Q(literally(LABELLED))
        return Q() if self.filters.any or state else None

    def one(self, name: str) -> str | None:
        """The value of a filter that has just one."""
        if name not in self.filters.selectors:
            return None
        found = values_of(self.filters.selectors, name)
        return found[0] if len(found) == 1 else None

    def oldest_compared(self, led: Q, most: int) -> int | None:
        """The moment of the last row that is compared; None if there are no more than `most`."""
        key = f"{led} {most}"
        if key not in self.ends:
            rows = Message.objects.filter(led, self.dates, account=ACCOUNT).order_by(*NEWEST)
            compared = rows.values("created_at", "id")[:most]
            end = compared.aggregate(oldest=Min("created_at"), number=models.Count("id"))
            self.ends[key] = end["oldest"] if end["number"] == most else None
        return self.ends[key]

    @cached_property
    def few_unfinished(self) -> list[int] | None:
        """The messages that are not over, if they are few; None if there are many.

        Such a message is due some time or stands in a lane; there is an index for each.
        """
        waiting = Message.objects.filter(Q(due_at__gte=0) | Q(lane__gt=""), account=ACCOUNT)
        found = list(waiting.values_list("id", flat=True)[: FEW + 1])
        return found if len(found) <= FEW else None

    @cached_property
    def many_unfinished(self) -> dict[str, Count]:
        """Where many messages are not over: how many are in each such state, in one look."""
        self.cut = False
        rows = self.compared(self.all(""), self.led_by_an_index("queued"), COMPARED[-1])
        states = {state: models.Count("id", filter=self.in_state(state)) for state in UNFINISHED}
        found = rows.aggregate(**states)
        return {
            state: Count(min(number, MOST_COUNTED), number > MOST_COUNTED or self.cut)
            for state, number in found.items()
        }

    def count(self, state: str) -> Count:
        """How many are in a state: 1,000 at most, and as many as are found quickly."""
        if state in UNFINISHED and self.few_unfinished is None:
            return self.many_unfinished[state]
        found = self.first(state, MOST_COUNTED + 1, lambda rows: rows.values("id").count())
        return Count(min(found, MOST_COUNTED), found > MOST_COUNTED or self.cut)

    def counts(self) -> dict[str, Count]:
        return {state: self.count(state) for state in ("", *STATES)}

    def page(self) -> tuple[list[Message], str, bool]:
        """A page of messages, the cursor of the next, and whether the search has ended early."""
        state = self.filters.state
        found = self.first(state, PAGE + 1, lambda rows: list(without_body(rows)))
        if len(found) > PAGE:
            last = found[PAGE - 1]
            return found[:PAGE], f"{last.created_at}-{last.pk}", False
        if self.cut:
            led = self.led_by_an_index(state) or Q()
            return found, f"{self.oldest_compared(led, COMPARED[-1])}-0", True
        return found, "", False


def without_body(messages: QuerySet[Message]) -> QuerySet[Message]:
    return messages.defer("body")


def after(cursor: str) -> Q:
    """What comes after a message in the list: `<unix ms>-<key>`."""
    if not (pair := read_pair(cursor)):
        return Q()
    at, key = pair
    return Q(created_at__lte=at) & (Q(created_at__lt=at) | Q(id__lt=key))


def with_reasons(letters: QuerySet[DeadLetter]) -> QuerySet[DeadLetter]:
    """Letters with the last `error`, and the beginnings of the `answer` and of the `body`."""
    failed = Event.objects.filter(message=OuterRef("message"), state=State.FAILED).order_by("-id")
    return letters.annotate(
        error=Subquery(failed.values("error")[:1]),
        answer=Substr("response_body", 1, ANSWER_BYTES, output_field=BinaryField()),
        body=Substr("message__body", 1, BODY_BYTES, output_field=BinaryField()),
    )


class LetterSearch:
    """The dead letters that filters choose; an index leads along all of the account."""

    def __init__(self, filters: Filters, cursor: str = "") -> None:
        self.filters, self.pair = filters, read_pair(cursor)
        self.rows = choose(ACCOUNT, without_url(filters.selectors))
        self.rows = self.rows.filter(url_condition(filters.selectors, "message__url"))
        self.mine = DeadLetter.objects.filter(account=ACCOUNT)
        if self.pair:
            self.rows, self.mine = (r.filter(id__lt=self.pair[1]) for r in (self.rows, self.mine))

    @cached_property
    def first_compared(self) -> int | None:
        """The key of the last letter that is compared; None if all can be."""
        if not self.filters.any:
            return None
        compared = self.mine.order_by("-id").values("id")[: COMPARED[-1]]
        end = compared.aggregate(oldest=Min("id"), number=models.Count("id"))
        return end["oldest"] if end["number"] == COMPARED[-1] else None

    def bounded(self) -> QuerySet[DeadLetter]:
        first = self.first_compared
        return self.rows if first is None else self.rows.filter(id__gte=first)

    def count(self) -> Count:
        found = self.bounded().order_by("-id").values("id")[: MOST_COUNTED + 1].count()
        return Count(min(found, MOST_COUNTED), found > MOST_COUNTED or bool(self.first_compared))

    def page(self) -> tuple[list[DeadLetter], str, bool]:
        """A page of letters with their messages, the next one's cursor, whether it ended early."""
        rows = with_reasons(self.bounded()).order_by("-id").select_related("message")
        found = list(rows.defer("response_body", "response_header", "message__body")[: PAGE + 1])
        if len(found) > PAGE:
            return found[:PAGE], found[PAGE - 1].dlq_id, False
        if self.first_compared is not None:
            return found, f"0-{self.first_compared}", True
        return found, "", False
