"""Small pieces of HTML; all text that comes from a model or a file goes through `esc`."""

from __future__ import annotations

import base64
import html
import struct
import zlib
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

import numpy as np


def esc(text: Any) -> str:
    """Text, also inside a quoted attribute; characters that do not print become a mark."""
    visible = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(text))
    return html.escape(visible)


def link(href: str, text: str) -> str:
    """A link to a file beside the page."""
    return f'<a href="{esc(quote(href))}">{esc(text)}</a>'


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str,
    numbers: Sequence[str],
    quiet: Sequence[bool] = (),
) -> str:
    """A table that scrolls sideways by itself where the page is narrow; cells are HTML.

    `quiet` marks the rows that step back behind the others.
    """
    marks = ['class="number"' if column in numbers else "" for column in columns]
    head = "".join(
        f'<th scope="col" {m}>{esc(c)}</th>' for c, m in zip(columns, marks, strict=True)
    )
    body = "".join(
        ('<tr class="quiet">' if number < len(quiet) and quiet[number] else "<tr>")
        + "".join(f"<td {m}>{x}</td>" for x, m in zip(row, marks, strict=True))
        + "</tr>"
        for number, row in enumerate(rows)
    )
    return scrolling(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>", caption)


def scrolling(content: str, caption: str, *, hint: bool = True) -> str:
    """A box that scrolls sideways by itself and shows it: by shadows, on a small screen in words.

    `hint` is False for content that fits a small screen. A page without the report's styles, such
    as a notebook's, shows neither.
    """
    words = '<p class="hint" aria-hidden="true" hidden>scrolls sideways →</p>' if hint else ""
    return (
        f'<div class="wide">{words}<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{esc(caption)}">{content}</div></div>'
    )


def bar(label: str, value: float, limit: float, text: str, *, mark: float | None = None) -> str:
    """A labelled bar from 0 to `limit`, with a tick at `mark`; `text` says the numbers."""
    share = 100 * min(max(value / limit, 0.0), 1.0) if limit else 0.0
    tick = "" if mark is None else f'<i class="tick" style="left:{100 * mark / limit:.2f}%"></i>'
    over = " over" if limit and value > limit else ""
    return (
        f'<div class="bar{over}"><span class="what">{esc(label)}</span>'
        f'<span class="how-much">{esc(text)}</span><div class="track" aria-hidden="true">'
        f'<i class="fill" style="width:{share:.2f}%"></i>{tick}</div></div>'
    )


def picture(pixels: Any, alt: str) -> str:
    """An image of reals 0 to 1, (height, width) or (height, width, 1 or 3), as an inline PNG."""
    array = np.clip(np.rint(np.asarray(pixels, np.float64) * 255), 0, 255).astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        array = np.repeat(array.reshape(*array.shape[:2], 1), 3, axis=2)
    data = base64.b64encode(_png(array)).decode()
    return f'<img class="sample" alt="{esc(alt)}" src="data:image/png;base64,{data}">'


def _png(rgb: Any) -> bytes:
    """A PNG of uint8 (height, width, 3)."""
    rows, columns, _ = rgb.shape
    lines = b"".join(b"\0" + rgb[row].tobytes() for row in range(rows))
    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines, 9)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )
