"""HTML pages of one file: no script, no other file, no outside host."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from keras_emo.progress import make_printable

_STYLE = """
:root { color-scheme: light dark; --ink: #1a1a1a; --soft: #555; --line: #ccc; --paper: #fff;
        --box: #f4f4f4 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eee; --soft: #b5b5b5; --line: #555; --paper: #16181b; --box: #23262b } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
       color: var(--ink); background: var(--paper) }
h1 { overflow-wrap: anywhere; line-height: 1.25 } h2 { margin-top: 2.5rem }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums }
caption { text-align: left; color: var(--soft) }
th, td { padding: .25rem .75rem; border-bottom: 1px solid var(--line); text-align: right }
th:first-child, td:first-child { text-align: left }
img, svg { max-width: 100% }
"""
# An attacker's name that slipped through could still load and run nothing.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


def escape(value: object) -> str:
    """Text for a page or an attribute between double quotes; control characters as '?'."""
    return html.escape(make_printable(str(value)))


def render_page(title: str, parts: Iterable[str], style: str = "") -> str:
    """A whole page. parts: HTML, what a user named in it escaped already. style: more CSS."""
    body = "\n".join(parts)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>\n"
        f"<body><main>\n{body}\n</main></body></html>\n"
    )


def render_table(caption: str, heads: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """A table with escaped cells; the first cell of a row is its head."""
    head = "".join(f'<th scope="col">{escape(h)}</th>' for h in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>'
        + "".join(f"<td>{escape(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return (
        f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def render_facts(facts: Iterable[tuple[str, object]]) -> str:
    """Names and values as a description list."""
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
    return f"<dl>{rows}</dl>"


def encode_image(data: bytes, kind: str) -> str:
    """A picture within the page, as an address. kind: png, jpeg."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
