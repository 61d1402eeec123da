#!/usr/bin/env python3
"""Measures mrs-backup beside restic, rustic, borg and bupstash.

Every program does the same jobs on the same generated tree, in turn. Every job starts with everything
written back (`sync`); the page cache is left warm. Tables go to standard output, one JSON line a job to
WORK/SCENARIO.jsonl, progress to standard error, plots to --plots.
"""

import argparse
import json
import os
import sys
from pathlib import Path

import report
import rounds
from programs import find_program, peers, version

# What is backed up: arguments for the generator at scale 1 of the option --scale.
SCENARIOS = {
    "instance": lambda scale: ["--scale", str(scale)],
    "small": lambda scale: ["--small-files", str(round(200_000 * scale))],
    "million": lambda scale: ["--small-files", str(round(1_000_000 * scale))],
    "nights": lambda scale: ["--profile", "dump", "--scale", str(scale)],
}


def chosen_options() -> argparse.Namespace:
    options = argparse.ArgumentParser(prog="peers.sh", description=__doc__.splitlines()[0])
    options.add_argument("--scenario", choices=SCENARIOS, default="instance",
                         help="2 GB of everything, 200,000 or 1,000,000 small files, or nights of a dump")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--nights", type=int, default=31, help="of the scenario `nights`")
    options.add_argument("--scale", type=float, default=1.0)
    options.add_argument("--work", type=Path, default=Path("target/peers"))
    options.add_argument("--only", help="names of programs, separated by commas")
    options.add_argument("--list", action="store_true", help="tell what was found, measure nothing")
    options.add_argument("--plots", type=Path, help="directory for SCENARIO-growth.svg and SCENARIO-time.svg (needs matplotlib)")
    options.add_argument("--document", type=Path,
                         help="Markdown with marks of the scenario, between which the table and plots are put")
    return options.parse_args()


def found_peers(only: str | None) -> list:
    found = []
    for peer in peers():
        if only and peer.name not in only.split(","):
            continue
        if program := find_program(peer):
            peer.program = program
            found.append(peer)
        elif only:
            sys.exit(f"peers: {peer.name} is not installed")
    return found or sys.exit("peers: none found; see benches/peers-install.sh")


def main() -> None:
    chosen = chosen_options()
    found = found_peers(chosen.only)
    how_often = f"{chosen.nights} nights" if chosen.scenario == "nights" else f"{chosen.rounds} rounds"
    heading = [f"{report.machine()}; {chosen.scenario}, {how_often}, scale {chosen.scale:g}", ""]
    heading += [f"- {peer.name}: {version(peer)}" for peer in found]
    print("\n".join(heading))
    if chosen.list:
        return

    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    instance = rounds.Instance(work, SCENARIOS[chosen.scenario](chosen.scale))
    if chosen.scenario == "nights":
        measured = rounds.many_nights(found, work, instance, chosen.nights)
    else:
        measured = rounds.two_nights(found, work, instance, chosen.rounds)
    results = []
    with (work / f"{chosen.scenario}.jsonl").open("w") as lines:
        for result in measured:
            results.append(result)
            lines.write(json.dumps(result) + "\n")
            lines.flush()
    write_report(chosen, heading, results, [peer.name for peer in found])


def write_report(chosen: argparse.Namespace, heading: list[str], results: list[dict], names: list[str]) -> None:
    table = report.table(results, names)
    print(f"\n{table}")
    plots = []
    if chosen.plots:
        chosen.plots.mkdir(parents=True, exist_ok=True)
        plots = report.plot(results, names, chosen.plots, chosen.scenario)
        for path in plots:
            rounds.say(f"wrote {path}")
    if chosen.document:
        shown = [f"![{path.stem}]({os.path.relpath(path, chosen.document.parent)})" for path in plots]
        report.write_into(chosen.document, chosen.scenario, "\n".join([*heading, "", table, "", *shown]))
        rounds.say(f"wrote {chosen.document}")


if __name__ == "__main__":
    main()
