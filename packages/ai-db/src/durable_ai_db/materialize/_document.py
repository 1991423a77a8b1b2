"""A session in one JSON document. Pure."""

from collections.abc import Iterable, Mapping

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._rows import (
    ActiveGenerationRow,
    ApprovalRow,
    Json,
    MessageRow,
    StatsRow,
    ToolCallRow,
    ToolResultRow,
)


def session_document(
    drafts: Iterable[tuple[str, Draft]],
    *,
    messages: Iterable[MessageRow],
    calls: Iterable[ToolCallRow],
    results: Mapping[str, ToolResultRow],
    approvals: Mapping[str, ApprovalRow],
    active: Mapping[str, ActiveGenerationRow],
    stats: StatsRow,
) -> Json:
    """All collections, in the order of the messages and, within one, of its chunks.

    `drafts` has the id and draft of every message in their order, of mere answers too.
    """
    call_of = {(row.message_id, row.id): row for row in calls}
    whole: Json = {
        "messages": [row.to_json() for row in messages],
        "toolCalls": [],
        "toolResults": [],
        "approvals": [],
        "activeGenerations": [],
        "stats": stats.to_json(),
    }
    for message_id, draft in drafts:
        whole["toolCalls"] += [call_of[message_id, one].to_json() for one in draft.calls]
        whole["toolResults"] += [results[f"{message_id}:{one}"].to_json() for one in draft.results]
        whole["approvals"] += [
            approvals[one].to_json()
            for one in draft.requests
            if approvals[one].message_id == message_id
        ]
        if message_id in active:
            whole["activeGenerations"].append(active[message_id].to_json())
    return whole
