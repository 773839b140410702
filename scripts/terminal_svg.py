#!/usr/bin/env python3
"""A terminal's screen (tmux capture-pane -e -p) on standard input, as SVG on standard output.

Blocks and shades are drawn as rectangles, so that they meet in every font; everything else is text, so
that the picture is small and can be searched. --hide PREFIX leaves a folder's name out.
"""

import argparse
import re
import sys
from html import escape

CELL_WIDTH, CELL_HEIGHT, MARGIN = 8.4, 18, 14
BACKGROUND, FOREGROUND = "#1c2128", "#cdd5df"
COLOURS = ["#545d68", "#ff7b72", "#7ee787", "#e3b341", "#79c0ff", "#d2a8ff", "#76d9e6", "#cdd5df"]
# Share of the cell that is filled from below, and how strongly.
BLOCKS = {"█": (1, 1), "▓": (1, 0.7), "░": (1, 0.25)} | {
    block: (eighths / 8, 1) for eighths, block in enumerate("▁▂▃▄▅▆▇", start=1)
}


class Look:
    """What the escape sequences so far have set."""

    def __init__(self):
        self.colour, self.bold, self.dim, self.reverse = None, False, False, False

    def apply(self, codes):
        codes = [int(code or 0) for code in codes.split(";")]
        while codes:
            code = codes.pop(0)
            if code == 0:
                self.__init__()
            elif code == 1:
                self.bold = True
            elif code == 2:
                self.dim = True
            elif code == 7:
                self.reverse = True
            elif code == 22:
                self.bold = self.dim = False
            elif code == 27:
                self.reverse = False
            elif code == 38 and codes[:1] == [5]:
                # One of the sixteen, in the longer way of saying it.
                self.colour = COLOURS[codes[1] % 8]
                del codes[:2]
            elif code == 39:
                self.colour = None
            elif 30 <= code <= 37 or 90 <= code <= 97:
                self.colour = COLOURS[code % 10]

    def key(self):
        return self.colour or FOREGROUND, self.bold, self.dim, self.reverse


def runs(line, look):
    """Pieces of a line that look the same: column, text, look."""
    column = 0
    for part in re.split(r"(\x1b\[[0-9;]*m|\x1b\].*?\x1b\\)", line):
        if part.startswith("\x1b["):
            look.apply(part[2:-1])
        elif part and not part.startswith("\x1b"):
            yield column, part, look.key()
            column += len(part)


def draw(column, row, text, look):
    colour, bold, dim, reverse = look
    x, y = MARGIN + column * CELL_WIDTH, MARGIN + row * CELL_HEIGHT
    width = len(text) * CELL_WIDTH
    if reverse:
        yield f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{CELL_HEIGHT}" fill="{colour}"/>'
        colour = BACKGROUND
    opacity = ' opacity="0.6"' if dim else ""
    for found in re.finditer(r"([█▓░▁▂▃▄▅▆▇])\1*", text):
        filled, strength = BLOCKS[found[1]]
        left, height = x + found.start() * CELL_WIDTH, filled * (CELL_HEIGHT - 4)
        yield (
            f'<rect x="{left:.1f}" y="{y + CELL_HEIGHT - 2 - height:.1f}" width="{len(found[0]) * CELL_WIDTH:.1f}"'
            f' height="{height:.1f}" fill="{colour}" fill-opacity="{strength}"/>'
        )
    # Between blanks, each piece at its own column: no font shifts what follows.
    for found in re.finditer(r"[^\s█▓░▁▂▃▄▅▆▇]+(?: [^\s█▓░▁▂▃▄▅▆▇]+)*", text):
        left = x + found.start() * CELL_WIDTH
        weight = ' font-weight="bold"' if bold else ""
        yield (
            f'<text x="{left:.1f}" y="{y + CELL_HEIGHT - 5}" fill="{colour}"{opacity}{weight}'
            f' textLength="{len(found[0]) * CELL_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs">{escape(found[0])}</text>'
        )


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--hide", default="")
    hidden = arguments.parse_args().hide
    lines = [line.rstrip("\n") for line in sys.stdin]
    if hidden:
        lines = [line.replace(hidden, "") for line in lines]
    look, shapes, widest = Look(), [], 0
    for row, line in enumerate(lines):
        for column, text, how in runs(line, look):
            widest = max(widest, column + len(text))
            shapes.extend(draw(column, row, text, how))
    width = 2 * MARGIN + widest * CELL_WIDTH
    height = 2 * MARGIN + len(lines) * CELL_HEIGHT
    print(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}"'
        ' font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14">'
    )
    print(f'<rect width="100%" height="100%" rx="8" fill="{BACKGROUND}"/>')
    print("\n".join(shapes))
    print("</svg>")


if __name__ == "__main__":
    main()
