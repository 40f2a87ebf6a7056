"""Whose ledger it is: tenant, address and the id keys it has known."""

from __future__ import annotations

from dataclasses import replace

import pytest

from connectors.ledger import open_ledger
from schemas.errors import SettingsError
from schemas.ledger import FormerKey, Identity
from tests.ledger.conftest import IDENTITY, begun

OLD = FormerKey(IDENTITY.key, IDENTITY.tenant)
NEW = replace(IDENTITY, key="k2", tenant="t under k2", former=(OLD,))


def opened(url: str, identity: Identity = IDENTITY, **how: bool):
    return open_ledger(url, identity=identity, now=1.0, **how)


def refused(url: str, identity: Identity, match: str, **how: bool) -> str:
    with pytest.raises(SettingsError, match=match) as found, opened(url, identity, **how):
        pytest.fail("opened")
    return found.value.cure


def test_a_key_announced_as_new_is_learned_and_then_needed(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        assert ["k"] == ledger.key_names()
    for _ in range(2):
        with opened(ledger_url, NEW) as ledger:
            assert ["k", "k2"] == ledger.key_names()
    refused(ledger_url, replace(NEW, former=()), "another 1 id key")
    refused(ledger_url, IDENTITY, "another 1 id key")  # a worker that was forgotten
    with opened(ledger_url, replace(IDENTITY, former=(FormerKey("k2", "t under k2"),))):
        pass  # back to the first key, with both named: nothing is in danger


def test_a_key_changed_without_a_word_is_refused_with_the_cure(ledger_url: str) -> None:
    with opened(ledger_url):
        pass
    cure = refused(ledger_url, replace(NEW, former=()), "another id key")
    assert "METERFEED_ID_KEY_PREVIOUS" in cure
    with opened(ledger_url) as ledger:
        assert (["k"], 2) == (ledger.key_names(), ledger.fence)


def test_a_third_key_needs_both_before_it_in_any_order(ledger_url: str) -> None:
    for identity in (IDENTITY, NEW):
        with opened(ledger_url, identity):
            pass
    second = FormerKey("k2", "t under k2")
    third = replace(IDENTITY, key="k3", tenant="t under k3", former=(second, OLD))
    refused(ledger_url, replace(third, former=(second,)), "another 1 id key")
    with opened(ledger_url, third) as ledger:
        assert ["k", "k2", "k3"] == ledger.key_names()


def test_a_key_is_not_changed_under_an_unfinished_run(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        run = begun(ledger)
        ledger.change_run(run, state="sending")
    cure = refused(ledger_url, NEW, "20261122-0001")
    assert "meterfeed resume" in cure
    with opened(ledger_url) as ledger:
        ledger.change_run(run, state="settled")
    with opened(ledger_url, NEW):
        pass


def test_a_plan_made_with_the_former_key_is_dropped(ledger_url: str) -> None:
    with opened(ledger_url) as ledger:
        ledger.change_run(begun(ledger), state="planned", plan="{}", plan_digest="p")
        ledger.change_run(begun(ledger), state="settled")
    with opened(ledger_url, NEW) as ledger:
        [settled, run] = ledger.runs()
        assert ("settled", "stopped", None, None) == (settled.state, run.state, run.plan, run.plan_digest)
        assert ["20261122-0001"] == ledger.dropped_plans
    with opened(ledger_url, NEW) as ledger:
        assert [] == ledger.dropped_plans


def test_a_new_ledger_takes_the_keys_in_the_order_given(ledger_url: str) -> None:
    """After a loss: `adopt` begins one for a tenant whose customers are under two keys."""
    with opened(ledger_url, NEW) as ledger:
        assert ["k", "k2"] == ledger.key_names()
    refused(ledger_url, IDENTITY, "another 1 id key")


def test_the_tenant_is_recognised_under_any_key(ledger_url: str) -> None:
    with opened(ledger_url):
        pass
    other = replace(NEW, former=(FormerKey("k", "another tenant under k"),))
    refused(ledger_url, other, "another tenant")


def test_relinking_follows_the_tenant_and_nothing_else(ledger_url: str) -> None:
    with opened(ledger_url):
        pass
    moved = replace(IDENTITY, tenant="renamed", base_url="https://elsewhere")
    assert "meterfeed ledger relink" in refused(ledger_url, moved, "another base url")
    with opened(ledger_url, moved, relinking=True):
        pass  # it was only opened: nobody has said that it is the same tenant
    refused(ledger_url, moved, "another base url")
    with opened(ledger_url, moved, relinking=True) as ledger:
        ledger.relink()
    with opened(ledger_url, moved):
        pass
    refused(ledger_url, IDENTITY, "another base url")
    refused(ledger_url, replace(moved, key="k9"), "another id key", relinking=True)


def test_relinking_names_the_tenant_under_its_oldest_key(ledger_url: str) -> None:
    """The other names of a tenant come and go with its keys."""
    for identity in (IDENTITY, NEW):
        with opened(ledger_url, identity):
            pass
    moved = replace(NEW, tenant="renamed under k2", former=(FormerKey("k", "renamed under k"),))
    refused(ledger_url, moved, "another tenant")
    with opened(ledger_url, moved, relinking=True) as ledger:
        ledger.relink()
    with opened(ledger_url, replace(moved, tenant="whatever it is under k2")):
        pass
    refused(ledger_url, NEW, "another tenant")
