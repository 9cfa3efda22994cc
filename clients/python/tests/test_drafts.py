"""Drafts over HTTP, against a real node."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from draftwire import BadRequestError, ConflictError, Cursor, Draftwire, NotFoundError, RefusedError

from .conftest import MINTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from .node import Node


@pytest.fixture
def alice(dw: Draftwire, topic: str) -> Draftwire:
    """A client for a user who has no drafts yet."""
    return dw.with_options(token=MINTER.source(f"alice-{topic}"))


def test_a_draft_lives(alice: Draftwire) -> None:
    created = alice.drafts.create({"title": "Chairs", "é": {"n": 1}}, draft_id="order-1", kind="order")
    assert (created.draft_id, created.version, created.seq) == ("order-1", 1, 1)
    draft = alice.drafts.get("order-1")
    assert (draft.draft_id, draft.version, draft.kind) == ("order-1", 1, "order")
    assert draft.content == {"title": "Chairs", "é": {"n": 1}}
    assert draft.updated_at > 1_700_000_000_000

    updated = alice.drafts.update("order-1", {"title": None, "quantity": 6}, base_version=1)
    assert (updated.version, updated.seq) == (2, 2)
    same = alice.drafts.update("order-1", {"quantity": 6}, if_match=2)
    assert (same.version, same.seq) == (2, None)
    listed = alice.drafts.list()
    assert [draft.content for draft in listed.drafts] == [{"quantity": 6, "é": {"n": 1}}]
    assert isinstance(listed.cursor, Cursor)
    assert listed.cursor.seq == 2

    assert alice.drafts.delete("order-1", base_version=2).version == 3
    assert alice.drafts.list().drafts == ()
    with pytest.raises(NotFoundError):
        alice.drafts.get("order-1")


def test_a_repeated_creation_makes_one_draft(alice: Draftwire) -> None:
    first = alice.drafts.create({"title": "Lamps"}, key="new-1")
    assert alice.drafts.create({"title": "Lamps"}, key="new-1") == first
    alice.drafts.create({"title": "Lamps"})
    assert len(alice.drafts.list().drafts) == 2


def test_a_conflict_has_both_sides(alice: Draftwire) -> None:
    alice.drafts.create({"title": "Chairs", "quantity": 4}, draft_id="d")
    alice.drafts.update("d", {"quantity": 6}, base_version=1)
    # Another field: merged.
    assert alice.drafts.update("d", {"title": "Oak chairs"}, base_version=1).version == 3
    with pytest.raises(ConflictError) as conflict:
        alice.drafts.update("d", {"quantity": 8}, base_version=1)
    assert conflict.value.status == 409
    assert conflict.value.fields == ("/quantity",)
    assert conflict.value.version == 3
    assert conflict.value.draft is not None
    assert conflict.value.draft.content == {"title": "Oak chairs", "quantity": 6}


def test_if_match_demands_a_version(alice: Draftwire) -> None:
    alice.drafts.create({"n": 1}, draft_id="d")
    alice.drafts.update("d", {"n": 2}, if_match="*")
    with pytest.raises(ConflictError) as conflict:
        alice.drafts.update("d", {"n": 3}, if_match=1)
    assert (conflict.value.status, conflict.value.version, conflict.value.draft) == (412, 2, None)
    with pytest.raises(ConflictError) as conflict:
        alice.drafts.delete("d", if_match=1)
    assert (conflict.value.status, conflict.value.version) == (412, 2)
    with pytest.raises(BadRequestError) as missing:
        alice.drafts.update("d", {"n": 3})
    assert missing.value.status == 428
    with pytest.raises(BadRequestError, match="not both"):
        alice.drafts.update("d", {"n": 3}, base_version=2, if_match=2)
    assert alice.drafts.delete("d", if_match=2).version == 3


def test_the_id_of_a_deleted_draft_is_not_used_again(alice: Draftwire) -> None:
    alice.drafts.create({}, draft_id="d")
    alice.drafts.delete("d")
    with pytest.raises(ConflictError) as conflict:
        alice.drafts.create({}, draft_id="d")
    assert (conflict.value.draft, conflict.value.fields) == (None, ())


def test_bad_input_is_refused_by_the_server(alice: Draftwire) -> None:
    with pytest.raises(BadRequestError, match="content"):
        alice.drafts.create([1])  # type: ignore[arg-type]
    with pytest.raises(BadRequestError, match="draftId"):
        alice.drafts.create({}, draft_id="two words")
    for name in ("", ".", "..", "a/b", "é"):
        with pytest.raises(RefusedError):
            alice.drafts.delete(name)
    nested: dict[str, object] = {}
    for _ in range(150):
        nested = {"in": nested}
    with pytest.raises(BadRequestError, match="100"):
        alice.drafts.create(nested)


def test_a_device_is_the_origin_of_a_change(
    shared: Node, connect: Callable[..., Draftwire], topic: str
) -> None:
    token = MINTER.source(f"carol-{topic}")
    phone = connect(shared.url, token=token, device="phone")
    first = phone.drafts.create({"n": 1}, key="k")
    # The same key of another device is another command.
    assert phone.with_options(device="laptop").drafts.create({"n": 1}, key="k") != first
    with pytest.raises(BadRequestError, match="device"):
        phone.with_options(device="x" * 65).drafts.create({})
