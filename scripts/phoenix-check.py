"""Asks Phoenix over REST whether it has every span that was sent, each of a kind that it knows, and whether one trace holds spans
of all six roles, with models and token counts.

Usage: phoenix-check.py URL PROJECT FOLDER. The folder holds the logs of the programs, each of which says at its end how many spans
it sent and lost. Prints what it found, a line for each role; exit code 1 where something is missing.
"""

import collections
import json
import pathlib
import re
import sys
import time
import urllib.request

ROLES = ["coordinator", "generator", "checker", "verifier", "learner", "optimizer"]


def pages(url, project):
    """Every span of the project."""
    cursor = None
    while True:
        where = f"{url}/v1/projects/{project}/spans?limit=1000" + (f"&cursor={cursor}" if cursor else "")
        with urllib.request.urlopen(where) as reply:
            page = json.load(reply)
        yield from page["data"]
        cursor = page.get("next_cursor")
        if not cursor:
            return


def told(folder):
    """How many spans the programs have sent, and how many they have lost."""
    sent = lost = programs = 0
    for log in pathlib.Path(folder).rglob("*.log"):
        for line in log.read_text(errors="replace").splitlines():
            if "the last spans were sent" in line:
                # `sent=1 lost=0`, or the same as JSON.
                counts = [int(re.search(rf'\b{name}["=: ]+(\d+)', line)[1]) for name in ("sent", "lost")]
                sent, lost, programs = sent + counts[0], lost + counts[1], programs + 1
    return sent, lost, programs


def received(url, project, expected):
    """The spans, once as many are there as were sent: Phoenix stores them in the background, on a busy machine for minutes."""
    deadline, spans = time.monotonic() + 300, []
    while time.monotonic() < deadline:
        try:
            spans = list(pages(url, project))
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise
        if len(spans) >= expected:
            break
        time.sleep(3)
    return spans


def role_of(span):
    """Who sent it. Only the leader of a run opens an iteration or publishes jobs."""
    name, attributes = span["name"], span["attributes"]
    if name.startswith(("invoke_workflow", "publish sipdo.v1.job", "sipdo.v1.RunService")):
        return "coordinator"
    return attributes.get("sipdo.role", "?")


def main(url, project, folder):
    sent, lost, programs = told(folder)
    print(f"{programs} programs sent {sent} spans and lost {lost}")
    spans = received(url, project, sent)
    traces = collections.defaultdict(list)
    for span in spans:
        traces[span["context"]["trace_id"]].append(span)
    print(f"Phoenix has {len(spans)} spans in {len(traces)} traces")
    if lost or programs < len(ROLES) or len(spans) != sent:
        print("not every span has arrived", file=sys.stderr)
        return 1
    unknown = sorted({span["name"] for span in spans if span["span_kind"] == "UNKNOWN"})
    if unknown:
        print(f"of no kind that Phoenix knows: {', '.join(unknown)}", file=sys.stderr)
        return 1
    whole = [trace for trace in traces.values() if {role_of(span) for span in trace} >= set(ROLES)]
    if not whole:
        print("no trace holds all six roles", file=sys.stderr)
        return 1
    trace = max(whole, key=len)
    print(f"{len(whole)} of them hold all six roles; trace {trace[0]['context']['trace_id']}, {len(trace)} spans:")
    failed = False
    for role in ROLES:
        mine = [span for span in trace if role_of(span) == role]
        calls = [span for span in mine if span["name"].startswith("chat ")]
        kinds = sorted({span["span_kind"] for span in mine})
        models = sorted({str(span["attributes"].get("llm.model_name") or span["attributes"].get("gen_ai.request.model")) for span in calls})
        tokens = [
            sum(int(span["attributes"].get(f"llm.token_count.{kind}") or span["attributes"].get(old) or 0) for span in calls)
            for kind, old in [("prompt", "gen_ai.usage.input_tokens"), ("completion", "gen_ai.usage.output_tokens")]
        ]
        print(f"  {role:<12} {len(mine):>4} spans {','.join(kinds):<20} {len(calls):>3} calls {','.join(models):<14} tokens in {tokens[0]}, out {tokens[1]}")
        if role != "coordinator" and not (calls and all(tokens) and models != ["None"]):
            print(f"  {role} shows no model or no tokens", file=sys.stderr)
            failed = True
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
