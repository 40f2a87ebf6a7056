"""From a template and its figures to one self-contained page that can do nothing but be read."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined
from jinja2.loaders import FunctionLoader
from markupsafe import Markup, escape

from connectors.reports import words
from schemas.errors import AccountError
from schemas.masking import masked_name, printable, visible

PAGE_LIMIT = 2_000_000
"""Bytes a page must stay below, whatever the input."""
NAME_LIMIT = 120


@cache
def _text(name: str) -> str | None:
    """A file of the templates folder."""
    source = files("connectors.reports").joinpath("templates", name)
    return source.read_text(encoding="utf-8") if source.is_file() else None


@cache
def _style() -> tuple[str, str]:
    """The style sheet and the policy that allows this sheet and nothing else."""
    style = "\n".join(line.strip() for line in (_text("style.css") or "").splitlines() if line.strip())
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    return style, policy


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FunctionLoader(_text),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        number=words.number,
        per_cent=words.per_cent,
        seconds=words.seconds,
        bytes=words.byte_size,
        moment=words.moment,
        sentence=words.sentence,
        reason=words.reason,
        foreign=foreign,
        plain=plain,
        told=told,
    )
    environment.globals.update(figure=figure, share=words.share, change=words.change)
    return environment


def _finalize(value: Any) -> Any:
    """The last net under every expression of every template: no invisible character reaches a page."""
    return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def figure(path: str, value: float | None, text: str | None = None) -> Markup:
    """A number as people read it, which also says which figure of summary.json it is, and its plain value."""
    shown = words.number(value) if text is None else text
    if value is None:
        return Markup('<span title="not known">{}</span>').format(shown)
    plain_value = f"{value:g}" if isinstance(value, float) else value
    return Markup('<data data-figure="{}" value="{}">{}</data>').format(visible(path), plain_value, shown)


def foreign(text: str | None) -> str:
    """Somebody else's name for something (file, rule, code): one line, ids masked, not too long."""
    return masked_name(text, limit=NAME_LIMIT)


def plain(text: str | None) -> str:
    """Our own words and digits (run ids, digests, times): one line, not too long."""
    return printable(text or "")[:NAME_LIMIT]


def told(text: str | None) -> Markup:
    """A sentence of ours in which `code` stands between backticks."""
    parts = printable(text or "").split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )


def render(template: str, **context: Any) -> bytes:
    """The page as bytes.

    Raises:
        AccountError: it is larger than a page may be, which is a bug: every list has its cap.
    """
    style, policy = _style()
    page = _environment().get_template(template).render(style=Markup(style), policy=policy, **context)  # noqa: S704  our own style
    content = page.encode("utf-8", errors="replace")
    if len(content) >= PAGE_LIMIT:
        raise AccountError(
            f"the page {template.partition('.')[0]} has {len(content)} bytes, more than it may have"
        )
    return content
