"""The functions that every kind of record has: create, list, get, update and delete, each a function of its own.

Readers and writers share no function, so that a key for writing reads nothing.
"""

from typing import Any

from shared.api.bodies import JSON, MERGE_PATCH
from shared.api.endpoint import Answer, Call
from shared.api.routing import PREFIX, READ, Routes
from shared.etags import read_condition
from shared.models import Record
from shared.reading import Listing
from shared.service import DatabaseService


class Resource:
    """The handlers of one model."""

    def __init__(self, service: DatabaseService, model: type[Record]) -> None:
        self._service = service
        self._model = model

    def add_to(self, routes: Routes) -> None:
        one, many = self._model.singular, self._model.route
        routes.add(f"create_{one}", many, ("POST",), self.create, body=JSON)
        routes.add(f"list_{many}", many, READ, self.list, parameters=None)
        routes.add(f"get_{one}", f"{many}/{{id}}", READ, self.get)
        routes.add(f"update_{one}", f"{many}/{{id}}", ("PATCH",), self.update, body=MERGE_PATCH)
        routes.add(f"delete_{one}", f"{many}/{{id}}", ("DELETE",), self.delete)

    async def create(self, call: Call) -> Answer:
        written = await self._service.create(self._model, call.body, call.headers.get("idempotency-key"))
        body = self._one(written.record, written.redactions)
        headers = {"etag": written.etag}
        if written.duplicate:
            body["duplicate"] = True
            return Answer(body, headers=headers)
        location = f"{PREFIX}/{self._model.route}/{written.stored.id}"
        return Answer(body, 201, {**headers, "location": location})

    async def list(self, call: Call) -> Answer:
        listing = await self._service.list_records(self._model, call.parameters)
        return Answer(listing_body(self._model, listing))

    async def get(self, call: Call) -> Answer:
        condition = read_condition("If-None-Match", call.headers.get("if-none-match"))
        found = await self._service.get(self._model, call.route["id"])
        if condition is not None and condition.names(found.etag):
            return Answer(status=304, headers={"etag": found.etag})
        return Answer(self._one(found.record), headers={"etag": found.etag})

    async def update(self, call: Call) -> Answer:
        condition = read_condition("If-Match", call.headers.get("if-match"))
        updated = await self._service.update(self._model, call.route["id"], call.body, condition)
        return Answer(self._one(updated.record, updated.redactions), headers={"etag": updated.etag})

    async def delete(self, call: Call) -> Answer:
        condition = read_condition("If-Match", call.headers.get("if-match"))
        await self._service.delete(self._model, call.route["id"], condition)
        return Answer(status=204)

    def _one(self, record: dict[str, Any], redactions: int = 0) -> dict[str, Any]:
        body: dict[str, Any] = {"success": True, self._model.singular: record}
        if redactions:
            body["redactions"] = redactions
        return body


def listing_body(model: type[Record], listing: Listing) -> dict[str, Any]:
    """The body of a list: `count` is the page's, and there is no cursor on the last page."""
    body: dict[str, Any] = {"success": True, "count": len(listing.records), model.route: listing.records}
    if listing.next_cursor is not None:
        body["nextCursor"] = listing.next_cursor
    return body
