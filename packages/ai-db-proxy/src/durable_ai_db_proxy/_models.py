"""What goes over HTTP, in and out. Field names are in camelCase there. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from durable_ai_db_proxy._policy import RunPolicy, Trigger

Name = Annotated[str, Field(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Content = Annotated[str, Field(min_length=1)]
Role = Literal["user", "assistant", "system"]
ActorType = Literal["user", "agent"]
Status = Literal["online", "offline", "away"]
AgentFormat = Literal["openai", "ag-ui", "tanstack", "vercel"]


class Wire(BaseModel):
    """What all bodies have in common."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class AgentSpec(Wire):
    """An agent: where and how it is called.

    Attributes:
        endpoint: An absolute URL that the service's allowlist has.
        headers: Sent with every call. They are kept in the store and shown to nobody.
        triggers: Which messages it is called for; ``user-messages`` when absent.
        body_template: What every request body has besides the messages.
        format: Of the messages in the request; the answer may have any format that the
            session's readers know.
    """

    id: Name
    name: str | None = Field(default=None, max_length=256)
    endpoint: str = Field(max_length=8192)
    method: Literal["POST"] = "POST"
    headers: dict[str, str] = Field(default_factory=dict)
    triggers: Trigger | None = None
    body_template: dict[str, JsonValue] = Field(default_factory=dict)
    format: AgentFormat = "openai"


class CreateSession(Wire):
    """How a session is set up; what is absent stays as it is."""

    run_policy: RunPolicy | None = None


class SendMessage(Wire):
    """A message, and perhaps an agent for it alone."""

    content: Content
    message_id: Name | None = None
    role: Role = "user"
    actor_id: Name | None = None
    actor_type: ActorType = "user"
    agent: AgentSpec | None = None
    txid: str | None = Field(default=None, max_length=256)


class Regenerate(Wire):
    """Where to go back to, and what the message there says now."""

    from_message_id: Name
    content: Content | None = None
    actor_id: Name | None = None
    actor_type: ActorType = "user"
    txid: str | None = Field(default=None, max_length=256)


class Stop(Wire):
    """What to stop: the answer of this id, the answers to the message of this id, or all."""

    message_id: Name | None = None


class RegisterAgents(Wire):
    """Agents to have in a session, by id."""

    agents: list[AgentSpec] = Field(max_length=100)
    txid: str | None = Field(default=None, max_length=256)


class ToolResult(Wire):
    """What a tool gave."""

    tool_call_id: Name
    output: Any = None
    error: str | None = None
    message_id: Name | None = None
    txid: str | None = Field(default=None, max_length=256)


class ApprovalResponse(Wire):
    """The answer to an agent that asked."""

    approved: bool
    txid: str | None = Field(default=None, max_length=256)


class ForkSession(Wire):
    """Where a new session branches off: after a message, or at the end."""

    at_message_id: Name | None = None
    new_session_id: str | None = None


class Presence(Wire):
    """A sign of life."""

    actor_id: Name | None = None
    actor_type: ActorType = "user"
    name: str | None = Field(default=None, max_length=256)
    status: Status = "online"


# ---------------------------------------------------------------------- answers


class SessionInfo(Wire):
    """A session and where to read it."""

    session_id: str
    stream_url: str
    run_policy: RunPolicy
    created_at: str | None = None
    forked_from: str | None = None


class Sent(Wire):
    """The id of the message that was sent."""

    message_id: str


class Done(Wire):
    """It is done."""

    success: bool = True


class Forked(Wire):
    """The new session, and where its own rows begin."""

    session_id: str
    offset: str


class AgentInfo(Wire):
    """An agent as it is shown: without its headers."""

    id: str
    name: str | None = None
    endpoint: str
    triggers: Trigger | None = None


class Agents(Wire):
    """The agents of a session."""

    agents: list[AgentInfo]


class PresenceList(Wire):
    """Everybody who was seen in a session."""

    presence: list[dict[str, JsonValue]]
    offset: str


class ErrorBody(Wire):
    """Why not."""

    code: str
    message: str


class Error(Wire):
    """Every error of this service."""

    error: ErrorBody
