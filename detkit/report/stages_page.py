"""The way of one picture through one detector as one HTML file that loads nothing: for a lecturer to project."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape

from detkit import __version__
from detkit.images import encode_image
from detkit.inside.stages import Stage


def stages_page(title: str, stages: Sequence[Stage]) -> str:
    """The page as text: a section a step with its picture, a sentence, and where the paper has it."""
    steps = "".join(_step(number, stage) for number, stage in enumerate(stages, start=1))
    links = "".join(f'<li><a href="#{escape(stage.name)}">{escape(stage.title)}</a></li>' for stage in stages)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f"style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>"
        f"<header><h1>{escape(title)}</h1><nav><ol>{links}</ol></nav></header>"
        f"<main>{steps}</main><footer>detkit {escape(__version__)}</footer></body></html>\n"
    )


def _step(number: int, stage: Stage) -> str:
    data = base64.b64encode(encode_image(stage.picture, ".jpg", 85)).decode()
    height, width = stage.picture.shape[:2]
    source = f'<p class="source">{escape(stage.source)}</p>' if stage.source else ""
    return (
        f'<section id="{escape(stage.name)}"><h2><span>{number}</span>{escape(stage.title)}</h2>'
        f"<p>{escape(stage.sentence)}</p>{source}"
        f'<img alt="{escape(stage.title)}" width="{width}" height="{height}" src="data:image/jpeg;base64,{data}">'
        "</section>"
    )


_STYLE = """
:root {
  color-scheme: light dark;
  --ink: #1b1e24; --paper: #fbfaf7; --faint: #6c717a; --line: #dcd9d0; --mark: #b5471b;
}
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e6e1; --paper: #16181c; --faint: #9a9fa8; --line: #33373e; --mark: #f08a5d; }
}
* { box-sizing: border-box; }
body { margin: 0; font: 18px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
header, main, footer { max-width: 72rem; margin: 0 auto; padding: 1.5rem; }
h1 { font-size: 2rem; margin: 0 0 .5rem; }
nav ol { columns: 3 14rem; padding-left: 1.4rem; margin: 0; font-size: 1rem; }
a { color: var(--mark); }
section { border-top: 1px solid var(--line); padding: 2rem 0; }
h2 { font-size: 1.5rem; margin: 0 0 .4rem; }
h2 span { color: var(--mark); margin-right: .6rem; font-variant-numeric: tabular-nums; }
p { margin: 0 0 .6rem; max-width: 60ch; font-size: 1.15rem; }
.source { color: var(--faint); font-size: .95rem; }
img { display: block; max-width: 100%; height: auto; max-height: 82vh; width: auto; border: 1px solid var(--line); }
footer { color: var(--faint); font-size: .9rem; }
@media print { section { break-inside: avoid; } }
"""
