"""Bugs to plant in the loader, so that a check that never fails is found out."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

import pipeline.delivery.classifier as classifier
import pipeline.delivery.sender as sender
from pipeline.delivery.books import Books, Shipment
from pipeline.delivery.classifier import Ruling
from pipeline.delivery.sender import Sender


class _Undo(Exception):
    """Takes a transaction back."""


def the_intent_is_not_committed(planted: pytest.MonkeyPatch) -> None:
    """The chunk is numbered and sent, and what was written of it is taken back."""

    async def intend(self: Books, draft: Any, records: Any, held: Any = ()) -> Shipment:
        try:
            with self.ledger.together():
                [chunk] = self.ledger.intend([draft], now=self.world.now())
                raise _Undo  # noqa: TRY301
        except _Undo:
            return Shipment(chunk, records)

    planted.setattr(Books, "intend", intend)


def a_lost_answer_is_retried_blindly(planted: pytest.MonkeyPatch) -> None:
    """A batch without an answer counts as not applied."""
    after = Sender._after_batch

    async def blindly(self: Sender, shipment: Any, verdict: Any, began: float) -> None:
        if verdict.ruling is Ruling.IN_DOUBT:
            verdict = dataclasses.replace(verdict, ruling=Ruling.NOT_APPLIED)
        await after(self, shipment, verdict, began)

    planted.setattr(Sender, "_after_batch", blindly)


def a_short_list_is_acknowledged(planted: pytest.MonkeyPatch) -> None:
    """Whatever a 201 lists, everything that was sent counts as made."""
    planted.setattr(
        classifier, "_compared", lambda sent, listed, claimed: dataclasses.replace(claimed, proven=sent)
    )


def the_rest_of_a_split_is_forgotten(planted: pytest.MonkeyPatch) -> None:
    """Of the pieces of a refused chunk only the first goes out, and no start after looks for the others."""
    on = Sender._go_on

    async def forget(self: Sender, children: Any) -> None:
        await on(self, children[:1])

    async def nothing(self: Sender, *_: Any) -> list[Any]:
        return []

    planted.setattr(Sender, "_go_on", forget)
    planted.setattr(Sender, "_not_sent", nothing)


def a_second_attempt_carries_other_content(planted: pytest.MonkeyPatch) -> None:
    """What was residential at first is commercial when it is sent again."""
    honest = sender.batch_call

    def changed(phase: Any, records: Any, trace: str) -> Any:
        call, expected = honest(phase, records, trace)
        if not trace.endswith("-1"):
            call = dataclasses.replace(call, body=(call.body or b"").replace(b"Residential", b"Commercial"))
        return call, expected

    planted.setattr(sender, "batch_call", changed)
