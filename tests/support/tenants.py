"""A small database of the 13 core models, every value of it known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bson import ObjectId

from tests.support.migrations import Deployment

# Stands for a field that a document doesn't have.
ABSENT: Any = object()

# The 13 core models as stored, each with the field that names the owner of a document.
OWNER_FIELDS = {
    "items": "addedBy",
    "invoices": "createdBy",
    "purchases": "createdBy",
    "customers": "createdBy",
    "suppliers": "owner",
    "bills": "createdBy",
    "paymentins": "createdBy",
    "paymentouts": "createdBy",
    "returns": "createdBy",
    "purchasereturns": "createdBy",
    "expenses": "createdBy",
    "bankaccounts": "userId",
    "stockledgers": "createdBy",
}


@dataclass
class Tenants:
    """Organizations with one user each, and documents of theirs."""

    site: Deployment
    organizations: list[ObjectId] = field(default_factory=list)
    users: dict[ObjectId, ObjectId] = field(default_factory=dict)  # by organization

    def organization(self, **fields: Any) -> ObjectId:
        """Store an organization and its user; return its _id."""
        tenant = ObjectId()
        self.site.data["organizations"].insert_one({"_id": tenant, "name": "Patel", **fields})
        self.organizations.append(tenant)
        self.users[tenant] = self.user(tenant)
        return tenant

    def user(self, tenant: Any) -> ObjectId:
        """Store a user; return their _id."""
        user = ObjectId()
        person = {"_id": user, "name": "Asha"}
        if tenant is not ABSENT:
            person["organizationId"] = tenant
        self.site.data["users"].insert_one(person)
        return user

    def add(self, model: str, owner: Any, organization: Any = ABSENT, **fields: Any) -> Any:
        """Store a document of a core model; return its _id."""
        document = {"_id": ObjectId(), "amount": 12.5, **fields}
        if owner is not ABSENT:
            document[OWNER_FIELDS[model]] = owner
        if organization is not ABSENT:
            document["organizationId"] = organization
        document["tags"] = ["a", {"b": None}]
        self.site.data[model].insert_one(document)
        return document["_id"]

    def value(self, model: str, identifier: Any) -> Any:
        """Return what a document holds now, as another client reads it."""
        found = self.site.data[model].find_one({"_id": identifier})
        assert found is not None
        return found.get("organizationId", ABSENT)


def tenants(site: Deployment, organizations: int = 3) -> Tenants:
    """Make all the collections, empty but for organizations and their users."""
    for model in ("organizations", "users", *OWNER_FIELDS):
        site.data.create_collection(model)
    made = Tenants(site)
    for _ in range(organizations):
        made.organization()
    return made
