"""A draft and an event go to a node and come back, through a client that was generated from its description."""

import sys

from draftwire_api import AuthenticatedClient
from draftwire_api.api.drafts import create_draft, delete_draft, get_draft, list_drafts, update_draft
from draftwire_api.api.events import publish_to_topic, read_history
from draftwire_api.api.node import get_health
from draftwire_api.models import (
    Draft,
    DraftChange,
    DraftConflict,
    DraftList,
    ErrorCode,
    Health,
    HealthStatus,
    History,
    JsonObject,
    NewDraft,
    NewEvent,
    Problem,
    PublishedNumbers,
)

url, token = sys.argv[1:]
client = AuthenticatedClient(base_url=url, token=token)


def content(**fields: object) -> JsonObject:
    return JsonObject.from_dict(fields)


health = get_health.sync(client=client)
assert isinstance(health, Health) and health.status is HealthStatus.OK, health

created = create_draft.sync(
    client=client,
    body=NewDraft(draft_id="order-1", kind="order", content=content(quantity=4)),
    idempotency_key="create-1",
)
assert isinstance(created, DraftChange) and (created.version, created.seq) == (1, 1), created
changed = update_draft.sync("order-1", client=client, body=content(quantity=6), base_version=1)
assert isinstance(changed, DraftChange) and changed.version == 2, changed
refused = update_draft.sync("order-1", client=client, body=content(quantity=8), base_version=1)
assert isinstance(refused, Problem) and refused.code is ErrorCode.CONFLICT, refused
assert isinstance(refused.payload, DraftConflict) and refused.payload.fields == ["/quantity"], refused
draft = get_draft.sync("order-1", client=client)
assert isinstance(draft, Draft) and draft.content["quantity"] == 6, draft
deleted = delete_draft.sync("order-1", client=client)
assert isinstance(deleted, DraftChange) and deleted.version == 3, deleted
drafts = list_drafts.sync(client=client)
assert isinstance(drafts, DraftList) and (drafts.drafts, drafts.seq) == ([], 3), drafts

published = publish_to_topic.sync(
    "match:1", client=client, body=[NewEvent(event="GOAL", data={"minute": 61}), NewEvent(event="END")]
)
assert isinstance(published, PublishedNumbers) and (published.first, published.seq) == (1, 2), published
history = read_history.sync("match:1", client=client)
assert isinstance(history, History), history
assert [(event.type_, event.payload) for event in history.events] == [("GOAL", {"minute": 61}), ("END", None)], history
forbidden = read_history.sync("secret", client=client)
assert isinstance(forbidden, Problem) and forbidden.code is ErrorCode.FORBIDDEN, forbidden
print("a draft and two events went to the node and came back")
