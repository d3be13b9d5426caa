"""The plot of cold starts: bars on a logarithmic scale, readable on a light and on a dark page."""

import math
from xml.sax.saxutils import escape

import programs

SHOWN = (programs.STATIC, programs.HEAVY_PYTHON, programs.JAVASCRIPT)
WHO = ("rouse", "no container", "bwrap", "runc run", "Docker create+start")
WIDTH, LEFT, RIGHT, BAR, GAP, GROUP, TOP = 860, 158, 128, 17, 5, 44, 64
STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-size: 16px; font-weight: 600 } .small { font-size: 11px; fill: #59636e }
  .group { font-weight: 600 } .grid { stroke: #d1d9e0; stroke-width: 1 }
  .rouse { fill: #0969da } .peer { fill: #8c959f } .tail { stroke: #59636e; stroke-width: 1.5 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .small { fill: #9198a1 } .grid { stroke: #3d444d }
    .rouse { fill: #4493f8 } .peer { fill: #656c76 } .tail { stroke: #b7bdc8 }
  }
"""


def figure(part, who, program):
    """p50 and p99 of one bar, or None. rouse's are its hits; a server without pools has none, then all."""
    figures = part["figures"]
    if who != "rouse":
        return figures.get(f"{who}, {program.name}")
    return figures.get(f"hits, {program.name}")


def milliseconds(value):
    return f"{value:.2f}" if value < 10 else f"{value:.0f}"


def scale(values):
    """From milliseconds to x, over whole powers of ten, and those powers."""
    least = math.floor(math.log10(min(values)))
    most = math.ceil(math.log10(max(values)))
    span = (WIDTH - LEFT - RIGHT) / (most - least)
    return lambda value: LEFT + (math.log10(value) - least) * span, [10.0**n for n in range(least, most + 1)]


def bars(part, place):
    """The groups' elements and the y below the last one."""
    out, y = [], TOP
    for program in SHOWN:
        out.append(f'<text class="group" x="12" y="{y + 13}">{escape(program.title)}</text>')
        y += 22
        for who in WHO:
            one = figure(part, who, program)
            if not one or one["p50"] is None:
                continue
            end, tail, middle = place(one["p50"]), place(one["p99"]), y + BAR / 2
            kind = "rouse" if who == "rouse" else "peer"
            out.append(f'<text x="{LEFT - 8}" y="{y + 13}" text-anchor="end">{escape(who)}</text>')
            out.append(f'<rect class="{kind}" x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" rx="2"/>')
            out.append(f'<path class="tail" fill="none" '
                       f'd="M{end:.1f} {middle}H{tail:.1f}M{tail:.1f} {y + 4}v{BAR - 8}"/>')
            out.append(f'<text x="{max(end, tail) + 8:.1f}" y="{y + 13}">{milliseconds(one["p50"])} '
                       f'<tspan class="small">p99 {milliseconds(one["p99"])}</tspan></text>')
            y += BAR + GAP
        y += GROUP - 22
    return out, y


def cold(results):
    """The whole SVG."""
    part = results["parts"]["cold"]
    found = [figure(part, who, program) for who in WHO for program in SHOWN]
    values = [one[what] for one in found if one and one["p50"] is not None for what in ("p50", "p99")]
    place, powers = scale(values)
    drawn, bottom = bars(part, place)
    grid = []
    for power in powers:
        x = place(power)
        grid.append(f'<path class="grid" d="M{x:.1f} {TOP - 6}V{bottom - 10}"/>')
        grid.append(f'<text class="small" x="{x:.1f}" y="{bottom + 6}" text-anchor="middle">{power:g} ms</text>')
    height = bottom + 44
    when = part["when"][:10]
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'role="img" aria-label="Cold starts: rouse beside no container, bwrap, runc and Docker">',
        f"<style>{STYLE}</style>",
        '<text class="title" x="12" y="24">Cold start, ms, logarithmic: bar p50, whisker p99</text>',
        f'<text class="small" x="12" y="43">rouse: HTTP request in to answer out, served by its pool. '
        f'Others: asked to first byte. {part["runs"]} runs each, in one run.</text>',
        *grid, *drawn,
        f'<text class="small" x="12" y="{bottom + 30}">{escape(results["machine"])}; '
        f'{escape(results["version"])}; {when}</text>',
        "</svg>", ""])
