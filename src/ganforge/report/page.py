"""Pages that need nothing but themselves: escaping, tables, pictures as data, one style and a few lines of script."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape as escaped
from pathlib import Path

from PIL import Image

LARGEST = 1200
"""Pixels: larger pictures are scaled down, to keep the page small."""

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""What a browser may load for the page: nothing from anywhere."""

STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8881; --card: #fff; --good: #1a7f4b; --warn: #b26a00;
  --stop: #c0322b; --info: #2f6fc4; }
@media (prefers-color-scheme: dark) { :root { --card: #1c1e22; --good: #4cc38a; --warn: #f0a53b; --stop: #ff7b72;
  --info: #7fb2ff; } }
* { box-sizing: border-box; }
html { background: light-dark(#f6f7f8, #121316); }
body { font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; max-width: 68rem; margin: 0 auto;
  padding: 1.5rem 1rem 4rem; color: light-dark(#1b1d21, #e4e6ea); overflow-wrap: anywhere; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .8rem; padding-bottom: .3rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; } img, svg { max-width: 100%; height: auto; }
.broad { max-width: 92rem; } .broad table { font-size: .85em; } .broad .card svg { max-width: 56rem; }
.muted { opacity: .72; font-size: .92em; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: .8rem 1rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5rem, 1fr)); gap: .6rem 1.2rem;
  margin: 1rem 0; }
.facts div { min-width: 0; } .facts dt { opacity: .7; font-size: .82em; } .facts dd { margin: 0; font-weight: 550; }
.verdict { border-left: 6px solid var(--info); } .verdict.good { border-left-color: var(--good); }
.verdict.warn { border-left-color: var(--warn); } .verdict.stop { border-left-color: var(--stop); }
.verdict strong { font-size: 1.1rem; } .verdict .grid { margin-top: .8rem; }
.tag { font-size: .78em; padding: .1em .55em; border-radius: 1em; border: 1px solid currentColor; white-space: nowrap; }
.good .tag, .tag.good { color: var(--good); } .warn .tag, .tag.warn { color: var(--warn); }
.stop .tag, .tag.stop { color: var(--stop); } .info .tag, .tag.info { color: var(--info); }
.command { display: flex; gap: .5rem; align-items: flex-start; margin: .5rem 0; }
.command { max-width: 66rem; }
.command code, pre { font: 13px/1.5 ui-monospace, Menlo, Consolas, monospace; background: var(--soft);
  padding: .5rem .7rem; border-radius: 6px; white-space: pre-wrap; flex: 1; min-width: 0; margin: 0; }
button { font: inherit; font-size: .85em; padding: .35rem .7rem; border: 1px solid var(--line); border-radius: 6px;
  background: var(--card); color: inherit; cursor: pointer; }
button:focus-visible, input:focus-visible { outline: 2px solid var(--info); outline-offset: 2px; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr)); gap: .8rem; }
.wide + .grid { margin-top: .8rem; }
.grid.small { grid-template-columns: repeat(auto-fill, minmax(min(17rem, 100%), 1fr)); }
.columns { columns: 2 20rem; column-gap: 2.5rem; } .columns h3 { break-after: avoid; }
.columns tr { break-inside: avoid; }
.grid figure, figure { margin: 0; } .grid svg { display: block; width: 100%; }
figcaption { font-size: .88em; opacity: .8; margin-top: .3rem; }
.frames { display: flex; gap: .8rem; overflow-x: auto; scroll-snap-type: x mandatory; }
.frames figure { flex: 0 0 100%; scroll-snap-align: start; }
.frames img, img.pixels { image-rendering: pixelated; background: #fff; border-radius: 4px; display: block; }
.slider { display: none; gap: .8rem; align-items: center; margin-bottom: .6rem; }
.slider input { flex: 1; min-width: 0; } 
.slider output { min-width: 11rem; text-align: right; font-variant-numeric: tabular-nums; }
.js .slider { display: flex; } .js .frames { display: block; } .js .frames figure { display: none; }
.js .frames figure.now { display: block; } .js .frames figcaption { display: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .92em; width: 100%; }
td, th { border-bottom: 1px solid var(--line); padding: .3rem .8rem .3rem 0; text-align: left; vertical-align: top;
  overflow-wrap: break-word; }
thead th { font-weight: 600; opacity: .8; white-space: nowrap; } tbody th { font-weight: 500; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.number { text-align: right; }
td.best { font-weight: 700; } .pairs th { width: 14rem; }
@media (max-width: 40rem) { .pairs th { width: 40%; } .slider output { min-width: 0; } .slider { flex-wrap: wrap; }
  .slider input { flex-basis: 100%; } }
@media print {
  html, body { background: #fff; color: #000; } body { max-width: none; padding: 0; font-size: 10.5pt; }
  .slider, button { display: none !important; } .card { border-color: #999; }
  .frames, .js .frames { display: grid; grid-template-columns: 1fr 1fr; overflow: visible; }
  .frames figure, .js .frames figure { display: block; } .js .frames figcaption { display: block; }
  h2 { break-after: avoid; } figure, tr, .card { break-inside: avoid; }
}
"""

SCRIPT = """
document.documentElement.classList.add('js');
for (const box of document.querySelectorAll('.timeline')) {
  const frames = [...box.querySelectorAll('.frames figure')], input = box.querySelector('input');
  const text = box.querySelector('output');
  const show = () => {
    frames.forEach((frame, i) => frame.classList.toggle('now', i === Number(input.value)));
    text.textContent = frames[input.value].querySelector('figcaption').textContent;
  };
  input.addEventListener('input', show);
  show();
}
for (const code of document.querySelectorAll('.command code')) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = 'Copy';
  button.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = 'Copied';
    } catch {
      getSelection().selectAllChildren(code);
      button.textContent = 'Selected';
    }
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
  code.after(button);
}
"""


class Markup(str):
    """Text that is HTML already; all other text is escaped by ``text``."""


def text(value: object) -> str:
    """HTML for any value: escaped, unless it is Markup. Characters that no page may hold are replaced."""
    if isinstance(value, Markup):
        return value
    plain = "".join(c if c in "\n\t" or c >= " " else "\N{REPLACEMENT CHARACTER}" for c in str(value))
    return escaped(plain.encode("utf-8", "replace").decode())


def page(title: str, body: str, broad: bool = False) -> bytes:
    """The whole document; ``broad`` gives tables more room."""
    kind = ' class="broad"' if broad else ""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8"/>\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1"/>\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body{kind}>\n{body}\n"
        f"<script>{SCRIPT}</script>\n</body>\n</html>\n"
    ).encode()


def section(title: str, content: str) -> str:
    """A part of the page; nothing where it is empty."""
    return f"<section>\n<h2>{text(title)}</h2>\n{content}\n</section>\n" if content else ""


def pairs(rows: Sequence[tuple[str, object]]) -> str:
    """A table of names and values."""
    cells = "".join(f"<tr><th>{text(k)}</th><td>{text(v)}</td></tr>\n" for k, v in rows)
    return f'<table class="pairs"><tbody>\n{cells}</tbody></table>' if rows else ""


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], numbers: Sequence[int] = (), best: object = None
) -> str:
    """A table; ``numbers`` are columns that are set flush right, ``best(row, column)`` says which cells are bold."""

    def cell(tag: str, i: int, row: int, value: object) -> str:
        marked = callable(best) and tag == "td" and best(row, i)
        classes = " ".join([*(["number"] if i in numbers else []), *(["best"] if marked else [])])
        return f'<{tag} class="{classes}">{text(value)}</{tag}>' if classes else f"<{tag}>{text(value)}</{tag}>"

    top = "".join(cell("th", i, -1, name) for i, name in enumerate(head))
    body = "\n".join(
        "<tr>" + "".join(cell("th" if i == 0 else "td", i, n, value) for i, value in enumerate(row)) + "</tr>"
        for n, row in enumerate(rows)
    )
    return f'<div class="wide"><table>\n<thead><tr>{top}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def command(line: str) -> str:
    """A command that can be copied."""
    return f'<div class="command"><code>{text(line)}</code></div>' if line else ""


def picture(content: bytes) -> str:
    """A PNG file as a data: URI, scaled down if it is large. OSError, SyntaxError or ValueError where it is none."""
    with Image.open(io.BytesIO(content)) as image:
        if image.format != "PNG":
            raise ValueError("not a PNG picture")
        image.load()
        if max(image.size) > LARGEST:
            image.thumbnail((LARGEST, LARGEST))
            buffer = io.BytesIO()
            image.save(buffer, format="PNG")
            content = buffer.getvalue()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"


def figure(uri: str, caption: str, about: str = "", pixels: bool = False) -> str:
    """A picture with what is under it; ``about`` is for those who cannot see it."""
    kind = ' class="pixels"' if pixels else ""
    return (
        f'<figure><img{kind} src="{uri}" alt="{text(about or caption)}"/>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def spread(items: Sequence[Path], count: int) -> list[Path]:
    """At most ``count`` of ``items``, evenly spread, with the first and the last."""
    if len(items) <= count:
        return list(items)
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]
