#!/usr/bin/env python3
"""Runs test programs, two at a time: most of them wait for servers, not for the processor.

    cargo test --no-run --message-format=json | tests/lanes.py

Says a line about each when it ends, and everything a failed one wrote. All are run, so that one failure does not hide
the next. What took longest the last time begins first.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed

LANES = int(os.environ.get("MRS_BACKUP_TEST_LANES", "2"))


def programs(messages):
    """Name and path of every test program cargo has made."""
    for line in messages:
        message = json.loads(line) if line.startswith("{") else {}
        if message.get("executable") and message.get("profile", {}).get("test"):
            kind = message["target"]["kind"][0]
            name = message["target"]["name"]
            yield (name if kind == "test" else f"{name} ({kind})"), message["executable"]


def run(program):
    """Runs one; gives its code, what it wrote, and the seconds."""
    began = time.monotonic()
    done = subprocess.run(
        [program, "--quiet"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return done.returncode, done.stdout.decode(errors="replace"), time.monotonic() - began


def main():
    found = dict(programs(sys.stdin))
    if not found:
        sys.exit("no test program: did they compile?")
    # Some libraries ask for it when they run.
    os.environ["CARGO_MANIFEST_DIR"] = os.getcwd()
    memory = pathlib.Path(found[next(iter(found))]).parent / "seconds-of-tests.json"
    try:
        seconds = json.loads(memory.read_text())
    except (OSError, ValueError):
        seconds = {}
    order = sorted(found, key=lambda name: -seconds.get(name, 1e9))
    failed = []
    with ThreadPoolExecutor(LANES) as lanes:
        running = {lanes.submit(run, found[name]): name for name in order}
        for future in as_completed(running):
            name, (code, output, took) = running[future], future.result()
            seconds[name] = round(took, 1)
            results = re.findall(r"^test result: .*?(\d+) passed; (\d+) failed; (\d+) ignored", output, re.MULTILINE)
            passed = sum(int(result[0]) for result in results)
            print(f"{took:7.1f} s  {name}: {passed} passed", flush=True)
            if code != 0 or not results:
                failed.append(name)
                print(f"{output}\n{name} FAILED ({code})", flush=True)
    memory.write_text(json.dumps(seconds))
    if failed:
        sys.exit(f"failed: {', '.join(sorted(failed))}")


main()
