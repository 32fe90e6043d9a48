"""What a company's documents look like: the vocabulary and one maker for each collection.

The shapes follow an invoicing application for small businesses in India, as it stood before
migrations 003 and 004: no periods, and no organizationId on the thirteen core models.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from bson import ObjectId

Document = dict[str, Any]

# The field that names a document's owner, by collection: the thirteen core models.
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

# How many of a hundred documents are of each collection.
SHARES = {
    "journalentries": 26,
    "items": 10,
    "invoices": 14,
    "purchases": 8,
    "customers": 6,
    "suppliers": 3,
    "bills": 5,
    "paymentins": 8,
    "paymentouts": 5,
    "returns": 2,
    "purchasereturns": 1,
    "expenses": 4,
    "bankaccounts": 1,
    "stockledgers": 7,
}

# The secondary indexes that the application makes itself.
INDEXES: dict[str, list[list[tuple[str, int]]]] = {
    "organizations": [[("createdBy", 1)]],
    "users": [[("email", 1)], [("organizationId", 1)]],
    "journalentries": [[("organization", 1), ("date", -1)], [("entryNumber", 1)]],
    "financialperiods": [[("organization", 1), ("fiscalYear", 1)]],
    "items": [[("addedBy", 1)], [("sku", 1)]],
    "invoices": [[("createdBy", 1), ("date", -1)], [("invoiceNo", 1)]],
    "purchases": [[("createdBy", 1)], [("purchaseNo", 1)]],
    "customers": [[("createdBy", 1)], [("phone", 1)]],
    "suppliers": [[("owner", 1)]],
    "bills": [[("createdBy", 1)], [("dueDate", 1)]],
    "paymentins": [[("createdBy", 1)], [("receiptNo", 1)]],
    "paymentouts": [[("createdBy", 1)]],
    "returns": [[("createdBy", 1)]],
    "purchasereturns": [[("createdBy", 1)]],
    "expenses": [[("createdBy", 1), ("date", -1)]],
    "bankaccounts": [[("userId", 1)]],
    "stockledgers": [[("createdBy", 1)], [("item", 1), ("date", -1)]],
}

COMPANIES = (
    "Sharma Traders",
    "Patel Hardware",
    "Iyer Textiles",
    "Khan Electricals",
    "Das Stationery",
    "Mehta Medical Supplies",
    "Reddy Agro",
    "Nair Spices",
)
FIRST_NAMES = ("Asha", "Ravi", "Meena", "Imran", "Kavita", "Suresh", "Priya", "Anil", "Farah")
LAST_NAMES = ("Sharma", "Patel", "Iyer", "Khan", "Das", "Mehta", "Reddy", "Nair", "Singh")
GOODS = ("LED bulb 9 W", "Copper wire 1.5 mm", "A4 paper ream", "Turmeric powder", "PVC pipe 1 in")
UNITS = ("pcs", "m", "kg", "box")
CITIES = ("Mumbai", "Pune", "Chennai", "Kochi", "Delhi", "Kolkata", "Jaipur")
TAX_RATES = (0, 5, 12, 18, 28)
MODES = ("cash", "upi", "bank", "cheque")
EXPENSES = ("Rent", "Electricity", "Freight", "Tea and snacks", "Repairs")
ACCOUNTS = (("Cash", "Sales"), ("Purchases", "Creditors"), ("Rent", "Bank"), ("Bank", "Debtors"))


def organization(dice: random.Random, number: int, identifier: ObjectId) -> Document:
    """Return an organization; settings and createdBy are the caller's."""
    name = COMPANIES[number % len(COMPANIES)]
    suffix = "" if number < len(COMPANIES) else f" {number // len(COMPANIES) + 1}"
    return {
        "_id": identifier,
        "name": name + suffix,
        "slug": (name + suffix).lower().replace(" ", "-"),
        "gstin": f"27{dice.randrange(10**9):010d}Z{dice.randrange(10)}",
        "email": f"office{number}@example.in",
        "address": {"city": dice.choice(CITIES), "pincode": f"{dice.randrange(400000, 700000)}"},
        "plan": dice.choice(("free", "basic", "pro")),
    }


def user(dice: random.Random, number: int, identifier: ObjectId, belongs_to: Any) -> Document:
    """Return a user of an organization."""
    return {
        "_id": identifier,
        "name": f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}",
        "email": f"user{number}@example.in",
        "role": "owner" if number % 3 == 0 else "staff",
        "organizationId": belongs_to,
        "isActive": True,
    }


def journal_entry(dice: random.Random, number: int, when: datetime, belongs_to: Any) -> Document:
    """Return a balanced journal entry; the caller adds createdBy."""
    amount = round(dice.uniform(100, 90000), 2)
    debit, credit = dice.choice(ACCOUNTS)
    return {
        "organization": belongs_to,
        "entryNumber": f"JE-{number:07d}",
        "date": when,
        "description": f"{debit} to {credit}",
        "status": "posted" if number % 9 else "draft",
        "lines": [
            {"account": debit, "debit": amount, "credit": 0.0},
            {"account": credit, "debit": 0.0, "credit": amount},
        ],
        "totalDebit": amount,
        "totalCredit": amount,
    }


def _goods_line(dice: random.Random) -> Document:
    quantity, price = dice.randrange(1, 50), round(dice.uniform(10, 4000), 2)
    return {
        "name": dice.choice(GOODS),
        "qty": quantity,
        "price": price,
        "taxRate": dice.choice(TAX_RATES),
        "total": round(quantity * price, 2),
    }


def _sale(prefix: str, label: str) -> Callable[[random.Random, int, datetime], Document]:
    """Return a maker of documents with lines of goods and a number."""

    def make(dice: random.Random, number: int, when: datetime) -> Document:
        lines = [_goods_line(dice) for _ in range(1 + number % 2)]
        total = round(sum(line["total"] for line in lines), 2)
        return {
            label: f"{prefix}-{number:06d}",
            "date": when,
            "dueDate": when + timedelta(days=30),
            "partyName": f"{dice.choice(LAST_NAMES)} & Sons",
            "items": lines,
            "totalAmount": total,
            "balance": total if number % 3 else 0,
            "status": "unpaid" if number % 3 else "paid",
        }

    return make


def _payment(prefix: str) -> Callable[[random.Random, int, datetime], Document]:
    """Return a maker of payments."""

    def make(dice: random.Random, number: int, when: datetime) -> Document:
        return {
            "receiptNo": f"{prefix}-{number:06d}",
            "date": when,
            "partyName": f"{dice.choice(LAST_NAMES)} Enterprises",
            "amount": round(dice.uniform(100, 60000), 2),
            "mode": dice.choice(MODES),
            "reference": f"UTR{dice.randrange(10**12):012d}",
            "notes": "Received with thanks" if number % 4 else None,
            "settled": [{"document": f"INV-{dice.randrange(99999):06d}", "amount": 100.0}],
        }

    return make


def _party(kind: str) -> Callable[[random.Random, int, datetime], Document]:
    """Return a maker of customers and suppliers."""

    def make(dice: random.Random, number: int, _when: datetime) -> Document:
        name = f"{dice.choice(FIRST_NAMES)} {dice.choice(LAST_NAMES)}"
        return {
            "name": name,
            "businessName": f"{name} {kind} {number}",
            "phone": f"+91 9{dice.randrange(10**9):09d}",
            "email": f"{kind}{number}@example.in",
            "gstin": f"29{dice.randrange(10**9):010d}Z{number % 10}",
            "address": {"city": dice.choice(CITIES), "state": "MH", "pincode": "411001"},
            "openingBalance": round(dice.uniform(-5000, 5000), 2),
            "creditLimit": dice.randrange(0, 200000, 5000),
        }

    return make


def _item(dice: random.Random, number: int, _when: datetime) -> Document:
    cost = round(dice.uniform(10, 3000), 2)
    return {
        "name": f"{dice.choice(GOODS)} #{number}",
        "sku": f"SKU-{number:06d}",
        "hsnCode": f"{dice.randrange(1000, 9999)}",
        "unit": dice.choice(UNITS),
        "costPrice": cost,
        "sellingPrice": round(cost * 1.25, 2),
        "taxRate": dice.choice(TAX_RATES),
        "stockQty": dice.randrange(500),
        "lowStockLimit": 10,
        "description": "Sold by the unit; price without tax.",
    }


def _expense(dice: random.Random, number: int, when: datetime) -> Document:
    category = dice.choice(EXPENSES)
    return {
        "expenseNo": f"EXP-{number:06d}",
        "date": when,
        "category": category,
        "description": f"{category} for the month",
        "amount": round(dice.uniform(50, 40000), 2),
        "paymentMode": dice.choice(MODES),
        "receiptUrl": f"/uploads/receipts/{number:08d}.jpg",
        "isRecurring": number % 5 == 0,
    }


def _bank_account(dice: random.Random, number: int, _when: datetime) -> Document:
    return {
        "bankName": dice.choice(("State Bank", "Canara Bank", "Union Bank")),
        "accountNumber": f"{dice.randrange(10**11):011d}",
        "ifsc": f"SBIN0{number % 1000:06d}",
        "accountType": "current",
        "branch": dice.choice(CITIES),
        "currentBalance": round(dice.uniform(0, 900000), 2),
        "isDefault": number % 4 == 0,
    }


def _stock_movement(dice: random.Random, number: int, when: datetime) -> Document:
    quantity = dice.randrange(1, 80)
    return {
        "item": f"SKU-{dice.randrange(1, 500):06d}",
        "date": when,
        "type": "IN" if number % 2 else "OUT",
        "quantity": quantity,
        "rate": round(dice.uniform(10, 3000), 2),
        "balanceQty": quantity + dice.randrange(400),
        "warehouse": dice.choice(CITIES),
        "source": {"kind": "invoice", "number": f"INV-{number:06d}"},
    }


# One maker for each core model: (dice, running number, date) -> document without its owner.
MAKERS: dict[str, Callable[[random.Random, int, datetime], Document]] = {
    "items": _item,
    "invoices": _sale("INV", "invoiceNo"),
    "purchases": _sale("PUR", "purchaseNo"),
    "customers": _party("customer"),
    "suppliers": _party("supplier"),
    "bills": _sale("BILL", "billNo"),
    "paymentins": _payment("REC"),
    "paymentouts": _payment("PAY"),
    "returns": _sale("RET", "returnNo"),
    "purchasereturns": _sale("PRET", "purchaseReturnNo"),
    "expenses": _expense,
    "bankaccounts": _bank_account,
    "stockledgers": _stock_movement,
}
