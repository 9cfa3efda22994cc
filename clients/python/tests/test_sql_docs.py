"""The example of Django in docs/sql.md, run as it stands there: an order and its event, both or neither."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from .conftest import MINTER
from .node import ROOT, Node
from .postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXAMPLE = re.compile(r"^### Django\n\n```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def events(lines: Iterator[str]) -> Iterator[Any]:
    """The messages of a stream of server-sent events."""
    return (json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: "))


def test_an_order_of_django_is_committed_with_its_event(tmp_path: Path) -> None:
    import django
    from django.conf import settings
    from django.db import connection, models, transaction

    [example] = EXAMPLE.findall((ROOT / "docs/sql.md").read_text())
    with Postgres() as postgres, Node(tmp_path, DATABASE_URL=postgres.url(), DATA_DIR="") as node:
        postgres.execute("CREATE ROLE shop LOGIN; CREATE SCHEMA shop AUTHORIZATION shop")
        postgres.execute("GRANT draftwire_publisher TO shop")
        database = {"NAME": "postgres", "USER": "shop", "HOST": "127.0.0.1", "PORT": postgres.port}
        settings.configure(DATABASES={"default": {"ENGINE": "django.db.backends.postgresql", **database}})
        django.setup()

        def model(name: str, **fields: Any) -> Any:
            about = {"Meta": type("Meta", (), {"app_label": "shop"}), "__module__": __name__}
            made = type(name, (models.Model,), {"id": models.AutoField(primary_key=True), **fields, **about})
            with connection.schema_editor() as editor:
                editor.create_model(made)
            return made

        customer = model("Customer", username=models.TextField())
        order = model(
            "Order",
            customer=models.ForeignKey(customer, models.CASCADE),
            total=models.DecimalField(max_digits=9, decimal_places=2),
        )
        names = {"transaction": transaction, "connection": connection, "json": json, "Order": order}
        names |= {"customer": customer.objects.create(username="ann"), "total": Decimal("12.50")}

        def place() -> None:
            exec(compile(example, "docs/sql.md, Django", "exec"), dict(names))

        @transaction.atomic  # type: ignore[untyped-decorator]
        def place_and_fail() -> None:
            place()
            raise LookupError("out of stock")

        headers = {"Authorization": f"Bearer {MINTER.mint('ann')}"}
        with httpx.stream("GET", f"{node.url}/v1/stream", headers=headers, timeout=30) as response:
            messages = events(response.iter_lines())
            assert next(messages)["type"] == "WELCOME"
            with pytest.raises(LookupError):
                place_and_fail()
            place()
            # The order that was taken back has used its number, and no event has.
            published = next(each for each in messages if each["type"] == "ORDER_PLACED")
            assert published["payload"] == {"order": 2}
            assert published["seq"] == 1
        assert postgres.execute("SELECT id, total FROM shop.shop_order") == "2|12.50"
        connection.close()
