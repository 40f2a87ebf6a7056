"""Ids on the wire: stable, opaque, and computed without a Python object per record.

The ids are the only idempotency the API gives (the same customer must get the same id in every run, on
every machine), and a meter point or customer number is personal data. So by default an id is the
HMAC-SHA-256 of the natural key under the tenant's secret, in the shape of a UUID version 8 (RFC 9562,
section 5.8: all but the version and variant bits are ours to fill).

    message = kind, U+001F, part, U+001F, part …
    user      [user]                       location  [user, place]
    resource  [user, resource]             vehicle   [user, resource]

`ids = "as-is"` is for exports that already hold opaque ids: the last part itself is the id.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import polars as pl
import polars_hash  # noqa: F401  registers the `chash` and `nchash` namespaces

from schemas.outcomes import Kind

SEPARATOR = "\x1f"
"""Stands between the parts of a natural key. No part holds it: controls never pass the rules on ids."""

ID_KEY = "id_key"
"""Column that says under which key the ids of a row's customer are made, where there is a choice."""

DIGEST_LENGTH = 32
"""Hex digits kept of a digest: 128 bits, as many as a UUID has."""

# RFC 9562: the variant is binary 10, so the seventeenth hex digit keeps two of its four bits.
_VARIANT = {digit: "89ab"[int(digit, 16) & 0b11] for digit in "0123456789abcdef"}


@dataclass(frozen=True, slots=True)
class Identity:
    """How natural keys become ids, digests and keys.

    Attributes:
        key: the tenant's secret, used as the UTF-8 bytes of this very text (hex is not decoded).
        ids: "hmac" (default) or "as-is".
        unicode: "NFC" composes look-alike spellings of a natural key into one before anything else;
            "as-is" and "refuse" leave it alone (the latter is a rule on rows, settled before).
        former: keys that came before, for customers who are held under one of them. Where there are any, rows
            have a column `id_key` (`partition.to_spool`): 0 for `key`, n for the n-th of these.
        held_users: `partition.user_key` of every user that is held (UInt64), where `former` names any.
        ledger_key: the first key of the ledger; empty: `key`. What never leaves the ledger, digests of content and
            keys of meter points, is made with it for ever, so that it can be compared after a change of keys.
    """

    key: str = field(repr=False)
    ids: Literal["hmac", "as-is"] = "hmac"
    unicode: Literal["NFC", "as-is", "refuse"] = "NFC"
    former: tuple[str, ...] = field(default=(), repr=False)
    held_users: pl.Series | None = field(default=None, repr=False, compare=False)
    ledger_key: str = field(default="", repr=False)

    def user_id(self, user: pl.Expr) -> pl.Expr:
        """The id of a customer, from the natural key, under the key in use."""
        return self.id_under(self.key, Kind.USER, user)

    def location_id(self, user: pl.Expr, place: pl.Expr) -> pl.Expr:
        """The id of a location of this customer; `place` is its natural key (see `partition.RowShape`)."""
        return self._id(Kind.LOCATION, user, place)

    def resource_id(self, user: pl.Expr, resource: pl.Expr, kind: Kind = Kind.RESOURCE) -> pl.Expr:
        """The id of a resource or vehicle of this customer."""
        return self._id(kind, user, resource)

    def meter_point_key(self, meter_point: pl.Expr) -> pl.Expr:
        """What the ledger knows a meter point by: enough to see it move, not enough to name it. UInt64."""
        first_half = self.hmac(pl.lit("meter_point"), meter_point).str.head(16)
        return first_half.str.to_integer(base=16, dtype=pl.UInt64)

    def _id(self, kind: Kind, *parts: pl.Expr) -> pl.Expr:
        """Under the key of the row's customer."""
        made = self.id_under(self.key, kind, *parts)
        for number, key in enumerate(self.former, start=1):
            made = pl.when(pl.col(ID_KEY) == number).then(self.id_under(key, kind, *parts)).otherwise(made)
        return made

    def id_under(self, key: str, kind: Kind, *parts: pl.Expr) -> pl.Expr:
        """The id of a record under one of the keys; the last part itself where ids are taken as they are."""
        if self.ids == "as-is":
            return parts[-1]
        # On a series, not an expression: DataFrame.select would compute the HMAC once for each slice of it.
        return _hmac(key, pl.lit(kind.value), *parts).map_batches(
            _uuid8, return_dtype=pl.String, is_elementwise=True
        )

    def hmac(self, *parts: pl.Expr) -> pl.Expr:
        """What the ledger knows the parts by: HMAC-SHA-256 with U+001F between them, as 64 hex digits."""
        return _hmac(self.ledger_key or self.key, *parts)


def _hmac(key: str, *parts: pl.Expr) -> pl.Expr:
    message = pl.concat_str(*parts, separator=SEPARATOR) if len(parts) > 1 else parts[0]
    digest: pl.Expr = message.chash.hmac_sha256(key=key)  # type: ignore[attr-defined]
    return digest


def record_digest(identity: Identity, kind: Kind) -> pl.Expr:
    """What a record says, in 32 hex digits of HMAC-SHA-256.

    Reads `body`, and for resources and vehicles `user_id` and `location_id`.
    The body of a location names its user. That of a resource does not say where it hangs, so that is part
    of the message: hung elsewhere, it has other content. A user says nothing but its id, so all users have
    the same digest; there is no call that changes one.
    """
    parts = {
        Kind.USER: [pl.lit(kind.value)],
        Kind.LOCATION: [pl.col("body")],
    }.get(kind, [pl.col("user_id"), pl.col("location_id").fill_null(""), pl.col("body")])
    return identity.hmac(*parts).str.head(DIGEST_LENGTH).alias("digest")


def natural_key(values: pl.Series, identity: Identity) -> pl.Series:
    """A natural key column in the spelling the ids are made from.

    Composing costs ten times as much as seeing that a column is plain ASCII, which most are.
    """
    if identity.unicode != "NFC" or values.dtype != pl.String or _is_ascii(values):
        return values
    return values.str.normalize("NFC")


def _is_ascii(values: pl.Series) -> bool:
    return values.str.len_bytes().sum() == values.str.len_chars().sum()


def _uuid8(hmac_hex: pl.Series) -> pl.Series:
    """The first 16 bytes as a UUID: version 8 in digit 13, variant 10 in digit 17."""
    digits = pl.col(hmac_hex.name).str
    variant = digits.slice(16, 1).replace_strict(_VARIANT, default=None, return_dtype=pl.String)
    shape = pl.concat_str(
        digits.slice(0, 8),
        pl.lit("-"),
        digits.slice(8, 4),
        pl.lit("-8"),
        digits.slice(13, 3),
        pl.lit("-"),
        variant,
        digits.slice(17, 3),
        pl.lit("-"),
        digits.slice(20, 12),
    )
    return hmac_hex.to_frame().select(shape.alias(hmac_hex.name)).to_series()
