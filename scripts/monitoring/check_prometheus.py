"""Asks a Prometheus for what mm4d's metrics, rules and dashboard need.

    check_prometheus.py URL DASHBOARD MESSAGES SECONDS PAGE

Waits until MESSAGES accepted messages are visible, then runs every query of the
DASHBOARD, asks for PAGE, which console.py made, unless it is empty, and checks that
every rule was evaluated without an error. Exits 0 if so.
"""

import json
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

URL, DASHBOARD, MESSAGES, SECONDS, PAGE = sys.argv[1:]
DEADLINE = time.monotonic() + float(SECONDS)
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def get(path, **query):
    url = f"{URL}{path}?{urllib.parse.urlencode(query)}"
    with OPENER.open(url, timeout=10) as answer:
        return json.load(answer)["data"]


def wait_for(what, condition):
    while True:
        try:
            found = condition()
            if found:
                return found
        except (urllib.error.URLError, OSError):
            pass
        if time.monotonic() > DEADLINE:
            sys.exit(f"waited in vain for {what}")
        time.sleep(0.2)


def visible(expression):
    result = get("/api/v1/query", query=expression)["result"]
    return [float(series["value"][1]) for series in result]


def rules():
    groups = get("/api/v1/rules")["groups"]
    found = [rule for group in groups for rule in group["rules"]]
    return found if found and all(rule["health"] != "unknown" for rule in found) else None


def main():
    total = "sum(mm4d_accepted_messages_total)"
    wait_for(total, lambda: visible(total) == [float(MESSAGES)])
    # What the textfile collector could not parse would be counted here.
    if visible("node_textfile_scrape_error") != [0.0]:
        sys.exit("node_exporter reports an error in the textfile directory")
    for kind in ("counter", "gauge", "histogram"):
        metadata = get("/api/v1/metadata", limit=1000)
        if not any(name.startswith("mm4d_") and entry[0]["type"] == kind for name, entry in metadata.items()):
            sys.exit(f"Prometheus knows no {kind} of mm4d")
    with open(DASHBOARD, encoding="utf-8") as file:
        panels = json.load(file)["panels"]
    for panel in panels:
        for target in panel["targets"]:
            expression = target["expr"].replace("$instance", ".*")
            wait_for(f"{panel['title']}: {expression}", lambda: visible(expression))
    if PAGE:
        with OPENER.open(f"{URL}/consoles/{PAGE}", timeout=10) as answer:
            if panels[-2]["title"] not in answer.read().decode():
                sys.exit("Prometheus does not show the page of console.py")
    for rule in wait_for("the rules to be evaluated", rules):
        if rule["health"] != "ok":
            sys.exit(f"{rule['name']}: {rule.get('lastError')}")


main()
