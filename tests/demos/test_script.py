"""The scripted model and the agent of the demos: what is asked decides what happens."""

from __future__ import annotations

import pytest
from pydantic_ai import DeferredToolRequests, DeferredToolResults, ToolDenied

from durable_demos._model import (
    REAL_MODELS,
    SCRIPTED,
    CountedModel,
    OutOfOrderError,
    demo_agent,
    demo_model,
)
from durable_demos._script import ANSWERS, pieces


def _model() -> CountedModel:
    return demo_model(0)


async def _ask(model: CountedModel, prompt: str) -> object:
    async with demo_agent(model).run_stream(prompt) as result:
        return await result.get_output()


@pytest.mark.parametrize("name", sorted(path.stem for path in ANSWERS.glob("*.md")))
def test_pieces_are_the_text(name: str) -> None:
    text = (ANSWERS / f"{name}.md").read_text(encoding="utf-8")
    assert "".join(pieces(text)) == text


@pytest.mark.parametrize(
    ("prompt", "contains"),
    [
        ("Explain durable streams", "## Why an answer should outlive its connection"),
        ("Plan a weekend in Lisbon", "## A weekend in Lisbon"),
        ("hello", "I am a scripted model"),
    ],
)
async def test_it_answers_in_text(prompt: str, contains: str) -> None:
    model = _model()
    answer = await _ask(model, prompt)
    assert isinstance(answer, str)
    assert contains in answer
    assert model.calls == 1


async def test_it_calls_a_tool_and_goes_on() -> None:
    model = _model()
    result = await demo_agent(model).run(
        "What is the weather in Bergen?", event_stream_handler=_drain
    )
    assert "in Bergen now" in str(result.output)
    assert model.calls == 2


async def _drain(_context: object, events: object) -> None:
    async for _ in events:  # type: ignore[attr-defined]
        pass


@pytest.mark.parametrize(
    ("decision", "says"), [(True, "goes out only once"), (ToolDenied(), "**not** sent it")]
)
async def test_an_email_waits_for_an_approval(decision: object, says: str) -> None:
    agent = demo_agent(_model())
    asked = await agent.run("Send Ada an e-mail", event_stream_handler=_drain)
    assert isinstance(asked.output, DeferredToolRequests)
    (call,) = asked.output.approvals
    assert call.tool_name == "send_email"
    answered = await agent.run(
        message_history=asked.all_messages(),
        deferred_tool_results=DeferredToolResults(approvals={call.tool_call_id: decision}),  # type: ignore[dict-item]
        event_stream_handler=_drain,
    )
    assert says in str(answered.output)


async def test_it_fails_when_it_is_asked_to() -> None:
    with pytest.raises(OutOfOrderError, match="overloaded"):
        await _ask(_model(), "Please fail")


def test_a_key_leads_to_a_real_model_and_a_pace_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in REAL_MODELS:
        monkeypatch.delenv(key, raising=False)
    assert demo_model(None).name == SCRIPTED
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-x")
    monkeypatch.setenv("ANTHROPIC_MODEL", "claude-x")
    assert demo_model(0.1).name == SCRIPTED
    real = demo_model(None)
    assert real.name == real.model_name == "claude-x"
