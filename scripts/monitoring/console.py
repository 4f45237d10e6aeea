#!/usr/bin/env python3
"""Makes a page of Prometheus' own ("console template") out of the Grafana dashboard.

    console.py [DASHBOARD] > /etc/prometheus/consoles/mm4d.html

Prometheus shows it under /consoles/mm4d.html when it runs with --web.console.templates
and --web.console.libraries; the libraries are in /usr/share/doc/prometheus/examples of
Debian's package. The panels, their queries and their places are the dashboard's; heat
maps are left out. ?instance=REGEX selects instances.
"""

import html
import json
import pathlib
import re
import sys

HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>mm4d</title>
{{ template "prom_console_head" }}
<style>
body { margin: 8px; font-family: sans-serif; }
main { display: grid; grid-template-columns: repeat(24, minmax(0, 1fr)); grid-auto-rows: 26px; gap: 6px; }
section { border: 1px solid #ddd; border-radius: 3px; padding: 2px 8px; overflow: hidden; }
h2 { font-size: 13px; margin: 2px 0; }
.value { font-size: 21px; text-align: center; margin-top: 16px; }
.prom_graph_table { font-size: 11px; }
</style>
</head>
<body>
{{ $instance := or .Params.instance ".*" }}
<script>var INSTANCE = "{{ $instance }}";</script>
<main>
"""

# Grafana's units: a filter of the template, a suffix, a formatter of prom_console.js.
UNITS = {
    "bytes": ("humanize1024", "B", "humanize1024"),
    "Bps": ("humanize1024", "B/s", "humanize1024"),
    "s": ("humanizeDuration", "", "humanize"),
    "mps": ("humanize", " per s", "humanizeNoSmallPrefix"),
    "cps": ("humanize", " per s", "humanizeNoSmallPrefix"),
}
NO_UNIT = ("humanize", "", "humanizeNoSmallPrefix")


def main():
    default = pathlib.Path(__file__).with_name("dashboard.json")
    with open(sys.argv[1] if len(sys.argv) > 1 else default, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    print(HEAD, end="")
    for panel in panels:
        if panel["type"] != "heatmap":
            print(section(panel))
    print("</main>\n</body>\n</html>")


def section(panel):
    place = panel["gridPos"]
    row, column = place["y"] + 1, place["x"] + 1
    area = f"{row} / {column} / {row + place['h']} / {column + place['w']}"
    unit = UNITS.get(panel["fieldConfig"]["defaults"].get("unit"), NO_UNIT)
    body = value(panel, unit) if panel["type"] == "stat" else graph(panel, unit)
    return f'<section style="grid-area: {area}"><h2>{html.escape(panel["title"])}</h2>{body}</section>'


def value(panel, unit):
    """The first value of the first query, when the page is shown."""
    expression = panel["targets"][0]["expr"].replace("$instance", "%s")
    count = expression.count("%s")
    arguments = " $instance" * count
    query = f"query (printf {json.dumps(expression)}{arguments})"
    return f'<div class="value">{{{{ with {query} }}}}{{{{ . | first | value | {unit[0]} }}}}{unit[1]}{{{{ else }}}}–{{{{ end }}}}</div>'


def graph(panel, unit):
    name = f"panel{panel['id']}"
    queries = ", ".join(
        json.dumps(target["expr"]).replace("$instance", '" + INSTANCE + "') for target in panel["targets"]
    )
    legends = ", ".join(legend(target.get("legendFormat", "")) for target in panel["targets"])
    height = panel["gridPos"]["h"] * 32 - 88
    formatter = f"PromConsole.NumberFormatter.{unit[2]}"
    return (
        f'<div id="{name}"></div><script>new PromConsole.Graph({{node: document.getElementById("{name}"), '
        f"expr: [{queries}], name: [{legends}], height: {height}, min: 0, xTitle: '', "
        f"yAxisFormatter: {formatter}, yHoverFormatter: {formatter}, yUnits: {json.dumps(unit[1])}}});</script>"
    )


def legend(text):
    """Grafana's {{label}} as a function: prom_console.js drops what follows a [[ label ]]."""
    labels = re.sub(r"\{\{ *(\w+) *\}\}", r'" + labels["\1"] + "', json.dumps(text))
    return f"labels => {labels}"


if __name__ == "__main__":
    main()
