#!/usr/bin/env python3
"""Measures `reenact programbench eval` against the official tool on one suite, one machine, one run.

    run.py --reenact BIN --venv VENV [--work DIR] [--parts bare,ours,official,latency] [--official-weak] [--repeat 3]

VENV is a virtual environment with programbench 1.2.5; it is not changed. Needs root, podman, and a package index for pip (the
official tool installs pytest-rerunfailures into every container it builds in). Prints a table; results are added to
DIR/results.json, part by part, so that a long part may be measured by a later call. `--official-weak` takes about 45 minutes for one
worker and half of it for two. Scores have to be equal test by test, or the exit code is 1.
"""

import argparse
import json
import pathlib
import statistics
import sys

import engines
import latency
import suite

SUBMISSIONS = ["gold", "weak", "nothing"]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reenact", required=True, help="the binary to measure; a release build")
    parser.add_argument("--venv", required=True)
    parser.add_argument("--work", default="/tmp/reenact-bench-programbench")
    parser.add_argument("--root-tar", help="a root file system with what images need; by default made by the testkit's example `image`")
    parser.add_argument("--parts", default="bare,ours,official,latency")
    parser.add_argument("--submissions", default=",".join(SUBMISSIONS))
    parser.add_argument("--workers", default="1,2", help="numbers of branch workers (-b)")
    parser.add_argument("--variants", default="serial,xdist")
    parser.add_argument("--official-weak", action="store_true", help="let the official tool evaluate submissions that fail most tests, too")
    parser.add_argument("--repeat", type=int, default=3, help="how often everything but the official weak parts is measured; the table has medians")
    parser.add_argument("--tests", type=int, default=1340)
    parser.add_argument("--branches", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def root_tar(given):
    if given:
        return given
    here = pathlib.Path(__file__).resolve().parents[2]
    command = ["cargo", "run", "-q", "-p", "reenact-testkit", "--example", "image", "--", *engines.PACKAGES]
    return engines.run(command, cwd=here).strip()


def median(measured):
    """The measurement whose wall time is the median; with all wall times, in order, beside it."""
    ordered = sorted(measured, key=lambda m: m["wall_s"])
    return {**ordered[len(ordered) // 2], "walls": [m["wall_s"] for m in measured]}


def measure(lab, args, results):
    """Everything that is to be compared is measured in turn, round by round: machines drift."""
    instances = {"serial": suite.SERIAL, "xdist": suite.XDIST}
    for variant in args.variants.split(","):
        for submission in args.submissions.split(","):
            for workers in map(int, args.workers.split(",")):
                one_line(lab, args, results, f"{variant} {submission} {workers}", (submission, instances[variant], workers))


def one_line(lab, args, results, name, what):
    parts, slow = args.parts.split(","), what[0] != "gold"
    tools = {"bare": lab.bare, "ours": lab.ours, "official": lab.official}
    rounds = {tool: 1 if tool == "official" and slow else args.repeat for tool in tools if tool in parts}
    if slow and not args.official_weak:
        rounds.pop("official", None)
    measured = {tool: [] for tool in rounds}
    for i in range(args.repeat):
        for tool, times in rounds.items():
            if i < times:
                measured[tool].append(tools[tool](*what))
    for tool, found in measured.items():
        keep(lab, results, f"{tool} {name}", median(found))


def keep(lab, results, name, measured):
    path = lab.work / "results.json"
    # Another call may have added a part meanwhile.
    results.update(json.loads(path.read_text()) if path.exists() else {})
    results[name] = measured
    path.write_text(json.dumps(results, indent=1))
    print(f"{name}: {measured['wall_s']} s, {measured.get('passed')}/{measured.get('tests')} passed, code {measured['code']}, error {measured.get('error')}", flush=True)


def differences(results):
    """Tests whose official status differs between the tools; a part that was not measured is passed over."""
    found = []
    for name, theirs in results.items():
        ours = results.get(name.replace("official ", "ours ", 1))
        if not name.startswith("official ") or not ours:
            continue
        if theirs["statuses"] is None or ours["statuses"] is None:
            found.append(f"{name}: no eval.json")
            continue
        keys = sorted(theirs["statuses"].keys() | ours["statuses"].keys())
        found += [f"{name}: {k}: official {theirs['statuses'].get(k)}, ours {ours['statuses'].get(k)}" for k in keys if theirs["statuses"].get(k) != ours["statuses"].get(k)]
    return found


def ratio(slow, fast):
    """How many times longer: the median over rounds where both were measured in the same ones."""
    if not slow or not fast:
        return "–"
    pairs = list(zip(slow["walls"], fast["walls"]))
    if len(slow["walls"]) != len(fast["walls"]):
        pairs = [(slow["wall_s"], fast["wall_s"])]
    return f"{statistics.median(a / b for a, b in pairs):.2f}"


def seconds(measured):
    return f"{measured['wall_s']:.2f}" if measured else "–"


def table(results):
    lines = ["| suite | submission | workers | passed | bare pytest, s | reenact, s | official, s | official / reenact | reenact / bare |", "|---|---|---|---|---|---|---|---|---|"]
    keys = sorted({name.split(" ", 1)[1] for name in results if name.split(" ")[0] in ("ours", "official")})
    for key in keys:
        bare, ours, theirs = (results.get(f"{tool} {key}") for tool in ("bare", "ours", "official"))
        known = ours or theirs
        cells = [*key.split(" "), f"{known.get('passed')}/{known.get('tests')}", seconds(bare), seconds(ours), seconds(theirs), ratio(theirs, ours), ratio(ours, bare)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    args = arguments()
    lab = engines.Lab(args.work, args.reenact, args.venv)
    lab.prepare(args.tests, args.branches, args.seed)
    saved = lab.make_images(root_tar(args.root_tar))
    parts = args.parts.split(",")
    if "ours" in parts or "latency" in parts:
        lab.import_images(saved)
    path = lab.work / "results.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    measure(lab, args, results)
    if "latency" in parts:
        results["latency"] = latency.compare(lab, suite.SERIAL)
        path.write_text(json.dumps(results, indent=1))
    print(table(results))
    if "latency" in results:
        print(latency.table(results["latency"]))
    different = differences(results)
    print("\n".join(different[:50]) or "official scores: identical test by test")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
