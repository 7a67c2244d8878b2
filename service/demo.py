"""The demo flows. They need no network."""

from typing import Any
from uuid import UUID

from db import flows
from db.core.unit_of_work import UnitOfWork
from db.flows import FlowFilter
from engine.compiled_flow import check

FLOWS: dict[str, dict[str, Any]] = {
    "hello": {
        "inputSchema": {"type": "object", "properties": {"name": {"type": "string", "maxLength": 100}}},
        "steps": [
            {"name": "greet", "kind": "transform", "input": "Hello, {{ run.input.name | default('world') }}!"},
            {"name": "count", "kind": "transform", "input": {"letters": "{{ steps.greet.output | length }}"}},
        ],
        "output": {"greeting": "{{ steps.greet.output }}", "letters": "{{ steps.count.output.letters }}"},
    },
    "flaky-checkout": {
        "inputSchema": {
            "type": "object",
            "properties": {
                "cart": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["name", "price"],
                        "properties": {"name": {"type": "string"}, "price": {"type": "number", "minimum": 0}},
                    },
                }
            },
        },
        "steps": [
            {
                "name": "cart",
                "kind": "transform",
                "displayName": "Read the cart",
                "input": "{{ run.input.cart | default([{'name': 'Tea', 'price': 4.5}]) }}",
            },
            {
                "name": "total",
                "kind": "transform",
                "displayName": "Add it up",
                "input": {"amount": "{{ steps.cart.output | sum(attribute='price') }}"},
            },
            {
                "name": "charge",
                "kind": "python",
                "displayName": "Charge the card",
                "retry": {"attempts": 2, "delay": 0.2},
                "input": {
                    "action": "demo.charge_card",
                    "args": {"amount": "{{ steps.total.output.amount }}", "run_attempt": "{{ run.attempt }}"},
                },
            },
            {
                "name": "thanks",
                "kind": "transform",
                "displayName": "Thank the customer",
                "input": "Thank you! {{ steps.charge.output.charged }} charged, {{ steps.charge.output.receipt }}.",
            },
        ],
        "output": "{{ steps.thanks.output }}",
    },
}


def seed(uow: UnitOfWork, project_id: UUID) -> bool:
    """Creates the demo flows unless the project has flows. Returns True if it created them."""
    if flows.LISTING.count(uow.conn, FlowFilter(project_ids=[project_id]), 1):
        return False
    for name, definition in FLOWS.items():
        checked = check(definition)
        flow_id = flows.create(uow, project_id, name)
        flows.publish(uow, flow_id, project_id, checked.text, checked.step_count)
    return True
