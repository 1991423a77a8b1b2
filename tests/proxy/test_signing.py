"""Signatures of addresses: what they are good for, and for how long."""

from __future__ import annotations

import hmac
from urllib.parse import parse_qs

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._signing import Signer, Verdict

OLD, NEW = "the-old-secret-of-the-service", "the-new-secret-of-the-service"
SUBJECT = "6f9619ff-8b86-4d01-b42d-00cf4fc964ff/00000000-0000-4000-8000-000000000001"
NOW = 1_800_000_000.0


def _fields(query: str) -> tuple[str, str]:
    fields = parse_qs(query, strict_parsing=True)
    assert sorted(fields) == ["expires", "signature"]
    return fields["expires"][0], fields["signature"][0]


def test_a_signature_is_good_until_it_expires() -> None:
    signer = Signer.from_secrets([NEW])
    expires, signature = _fields(signer.query(SUBJECT, int(NOW) + 10))
    assert expires == str(int(NOW) + 10)
    assert signer.judge(SUBJECT, expires, signature, NOW) is Verdict.VALID
    assert signer.judge(SUBJECT, expires, signature, NOW + 9.9) is Verdict.VALID
    assert signer.judge(SUBJECT, expires, signature, NOW + 10) is Verdict.EXPIRED


def test_it_is_good_for_one_generation_and_one_end() -> None:
    signer = Signer.from_secrets([NEW])
    expires, signature = _fields(signer.query(SUBJECT, int(NOW) + 10))
    other = SUBJECT[:-1] + "2"
    assert signer.judge(other, expires, signature, NOW) is Verdict.INVALID
    for later in (str(int(expires) + 1), f"0{expires}", f" {expires}", f"+{expires}", "", "never"):
        assert signer.judge(SUBJECT, later, signature, NOW) is Verdict.INVALID


def test_a_secret_can_be_replaced() -> None:
    before, during = Signer.from_secrets([OLD]), Signer.from_secrets([NEW, OLD])
    after = Signer.from_secrets([NEW])
    old, new = (_fields(one.query(SUBJECT, int(NOW) + 10)) for one in (before, during))
    assert during.judge(SUBJECT, *old, NOW) is Verdict.VALID
    assert during.judge(SUBJECT, *new, NOW) is Verdict.VALID
    assert after.judge(SUBJECT, *new, NOW) is Verdict.VALID
    assert after.judge(SUBJECT, *old, NOW) is Verdict.INVALID


def test_the_key_is_not_the_secret_and_neither_is_shown() -> None:
    signer = Signer.from_secrets([NEW])
    assert NEW.encode() not in signer.keys
    assert repr(signer) == "Signer()"
    assert NEW not in signer.query(SUBJECT, 1)


@pytest.mark.parametrize("expires", ["9" * 13, "1e9", "١٢٣", "-1", "0x10"])
def test_an_end_that_is_no_time_is_none_even_if_it_is_signed(expires: str) -> None:
    from durable_proxy._signing import _signature

    signer = Signer.from_secrets([NEW])
    signature = _signature(signer.keys[0], SUBJECT, expires)
    assert signer.judge(SUBJECT, expires, signature, NOW) is Verdict.INVALID


def test_every_key_is_compared_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    """However wrong or right a signature is: the time that it takes says nothing."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest

    def recording(one: bytes, other: bytes) -> bool:
        compared.append((len(one), len(other)))
        return compare(one, other)

    signer = Signer.from_secrets([NEW, OLD])
    expires, signature = _fields(signer.query(SUBJECT, int(NOW) + 10))
    monkeypatch.setattr("durable_proxy._signing.hmac.compare_digest", recording)
    for shown in (signature, "x" * len(signature), signature[:-1] + "!"):
        compared.clear()
        signer.judge(SUBJECT, expires, shown, NOW)
        assert compared == [(len(signature), len(signature))] * 2


@given(st.data())
def test_no_altered_signature_is_good(data: st.DataObject) -> None:
    signer = Signer.from_secrets([NEW])
    expires, signature = _fields(signer.query(SUBJECT, int(NOW) + 10))
    kind = data.draw(st.sampled_from(["cut", "longer", "changed", "other"]))
    at = data.draw(st.integers(0, len(signature) - 2))
    match kind:
        case "cut":
            altered = signature[:at]
        case "longer":
            altered = signature + data.draw(st.text(min_size=1))
        case "changed":
            altered = signature[:at] + chr(ord(signature[at]) ^ 1) + signature[at + 1 :]
        case _:
            altered = data.draw(st.text().filter(lambda text: text != signature))
    assert signer.judge(SUBJECT, expires, altered, NOW) is Verdict.INVALID
