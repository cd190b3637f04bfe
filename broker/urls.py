"""The map of `/v2/`, the protocol that QStash's SDKs speak."""

from django.urls import re_path

from broker.api.dead_letters import (
    delete_dead_letter,
    delete_dead_letters,
    get_dead_letter,
    list_dead_letters,
    retry_dead_letter,
    retry_dead_letters,
)
from broker.api.events import list_events, list_logs
from broker.api.flow_control import change_key, list_keys, show_global_parallelism, show_key
from broker.api.keys import rotate_keys, show_keys
from broker.api.messages import cancel_message, cancel_messages, get_message
from broker.api.openapi import describe
from broker.api.publish import enqueue_message, publish_batch, publish_message
from broker.api.queues import (
    delete_queue,
    list_queues,
    pause_queue,
    resume_queue,
    show_queue,
    upsert_queue,
)
from broker.api.requests import endpoint, unknown
from broker.api.schedules import (
    create_schedule,
    delete_schedule,
    list_schedules,
    pause_schedule,
    resume_schedule,
    show_schedule,
)
from broker.api.url_groups import (
    add_endpoints,
    delete_group,
    list_groups,
    remove_endpoints,
    set_headers,
    show_group,
)

NAME = "(?P<name>[^/]+)"
MESSAGE_ID, DLQ_ID = "(?P<message_id>[^/]+)", "(?P<dlq_id>[^/]+)"

urlpatterns = [
    re_path(r"^publish/", endpoint(POST=publish_message)),
    re_path(r"^enqueue/(?P<queue_name>[^/]+)/", endpoint(POST=enqueue_message)),
    re_path(r"^batch/?$", endpoint(POST=publish_batch)),
    re_path(r"^messages/?$", endpoint(DELETE=cancel_messages)),
    re_path(rf"^messages/{MESSAGE_ID}/?$", endpoint(GET=get_message, DELETE=cancel_message)),
    re_path(r"^events/?$", endpoint(GET=list_events)),
    re_path(r"^logs/?$", endpoint(GET=list_logs)),
    re_path(r"^dlq/?$", endpoint(GET=list_dead_letters, DELETE=delete_dead_letters)),
    re_path(r"^dlq/retry/?$", endpoint(POST=retry_dead_letters)),
    re_path(rf"^dlq/retry/{DLQ_ID}/?$", endpoint(POST=retry_dead_letter)),
    re_path(rf"^dlq/{DLQ_ID}/?$", endpoint(GET=get_dead_letter, DELETE=delete_dead_letter)),
    re_path(r"^queues/?$", endpoint(GET=list_queues, POST=upsert_queue)),
    re_path(rf"^queues/{NAME}/?$", endpoint(GET=show_queue, DELETE=delete_queue)),
    re_path(rf"^queues/{NAME}/pause/?$", endpoint(POST=pause_queue)),
    re_path(rf"^queues/{NAME}/resume/?$", endpoint(POST=resume_queue)),
    re_path(r"^schedules/?$", endpoint(GET=list_schedules)),
    re_path(rf"^schedules/{NAME}/pause/?$", endpoint(PATCH=pause_schedule, POST=pause_schedule)),
    re_path(rf"^schedules/{NAME}/resume/?$", endpoint(PATCH=resume_schedule, POST=resume_schedule)),
    re_path(
        rf"^schedules/{NAME}/?$",
        endpoint(GET=show_schedule, POST=create_schedule, DELETE=delete_schedule),
    ),
    re_path(r"^schedules/", endpoint(POST=create_schedule)),
    re_path(r"^topics/?$", endpoint(GET=list_groups)),
    re_path(
        rf"^topics/{NAME}/?$",
        endpoint(GET=show_group, PATCH=set_headers, DELETE=delete_group),
    ),
    re_path(rf"^topics/{NAME}/endpoints/?$", endpoint(POST=add_endpoints, DELETE=remove_endpoints)),
    re_path(r"^flowControl/?$", endpoint(GET=list_keys)),
    re_path(r"^flowControl/", endpoint(GET=show_key, POST=change_key)),
    re_path(r"^globalParallelism/?$", endpoint(GET=show_global_parallelism)),
    re_path(r"^keys/?$", endpoint(GET=show_keys)),
    re_path(r"^keys/rotate/?$", endpoint(POST=rotate_keys)),
    re_path(r"^openapi\.json$", describe),
    re_path(r"", unknown),
]
