#!/usr/bin/env python3
"""What people wait for: `status` and the page of 50 instances with 500 nights each, and the first look into a mounted snapshot
with a million files. As root, for `mount`.

    benches/people.py target/release/mrs-backup [--files 1000000] [--directory /var/tmp]
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

INSTANCES = 50
NIGHTS = 500
ROUNDS = 5


def invent(root: Path) -> None:
    """State as runs leave it: a history and a catalogue for each instance."""
    (root / "state/history").mkdir(parents=True)
    (root / "state/known").mkdir()
    (root / "src").mkdir()
    now = datetime.datetime.now(datetime.timezone.utc)
    text = f'version = 1\n[defaults]\nkey = {{ file = "{root}/password" }}\n'
    for number in range(INSTANCES):
        name = f"i{number}"
        text += f'[instance.{name}]\nhome = "{root}/src"\ntimezone = "UTC"\nschedule = {{ run = "0 23 * * *", check = "0 5 * * 6" }}\n'
        lines, snapshots = [], []
        for night in range(NIGHTS, 0, -1):
            moment = now - datetime.timedelta(hours=24 * night - 20)
            stamp, run = moment.isoformat(), f"{night:016x}"
            lines.append({"type": "begun", "run": run, "time": stamp, "jobs": ["run"],
                          "steps": ["snapshot", "forget", "prune"], "process": {"id": 1}})
            for step in ("snapshot", "forget", "prune"):
                lines.append({"type": "step", "run": run, "step": step, "result": "ok", "exit_code": 0, "seconds": 1.25,
                              "bytes": 1_000_000 + night, "total_bytes": 700_000_000})
            lines.append({"type": "ended", "run": run, "time": (moment + datetime.timedelta(minutes=3)).isoformat(),
                          "result": "ok", "exit_code": 0})
            lines.append({"type": "measured", "time": stamp, "repository_bytes": 1 << 32,
                          "free_bytes": (1 << 36) + night * 100_000_000})
            reasons = ["last", "daily"] if night < 8 else [["monthly"], ["weekly"], []][min(night % 30, 2)]
            rows = {"mrs/public.claim": 30_000 - night, "mrs/public.bill": 50_000 - night} if night <= 60 else {}
            snapshots.append({"id": f"{night:064x}", "instance": name, "time": stamp, "end": stamp, "counter": NIGHTS - night,
                              "is_complete": night % 17 != 3, "bytes": 700_000_000, "stored_bytes": 1_000_000, "tags": [],
                              "reasons": reasons, "rows": rows})
        (root / f"state/history/{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        catalogue = {"repository": "ab", "snapshots": snapshots, "receipts": []}
        (root / f"state/known/{name}.catalogue.json").write_text(json.dumps(catalogue))
    (root / "config.toml").write_text(text)


def timed(command: list[str], environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def told(name: str, seconds: list[float], more: str = "") -> None:
    middle, least, most = statistics.median(seconds), min(seconds), max(seconds)
    print(f"{name}: {middle * 1000:.0f} ms ({least * 1000:.0f}..{most * 1000:.0f}){more}", flush=True)


def status(binary: str, root: Path) -> None:
    invent(root)
    environment = {"PATH": os.environ["PATH"], "MRS_BACKUP_CONFIG": str(root / "config.toml"),
                   "MRS_BACKUP_STATE_DIR": str(root / "state")}
    told("status, 50 instances", [timed([binary, "status"], environment) for _ in range(ROUNDS)])
    told("status, one of them", [timed([binary, "status", "-i", "i7"], environment) for _ in range(ROUNDS)])
    page = root / "page.html"
    times = [timed([binary, "-q", "status", "--html", str(page)], environment) for _ in range(ROUNDS)]
    told("page, 50 instances with 500 snapshots", times, f", {page.stat().st_size} bytes")


def resident(process: int) -> float:
    """Most memory it ever had, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def mounted(binary: str, root: Path, files: int) -> None:
    (root / "password").write_text("correct horse battery\n")
    (root / "password").chmod(0o600)
    many = root / "many"
    many.mkdir()
    for number in range(files):
        # Every tenth has content.
        with open(many / f"file-{number:07}", "wb") as file:
            if number % 10 == 0:
                file.write(b"x" * (number % 300))
    environment = {"PATH": os.environ["PATH"], "MRS_BACKUP_REPOSITORY": str(root / "repo"), "HOME": str(root),
                   "MRS_BACKUP_PASSWORD_FILE": str(root / "password"), "MRS_BACKUP_STATE_DIR": str(root / "mstate")}
    for words in (["init"], ["backup", str(many)]):
        subprocess.run([binary, "-q", *words], env=environment, check=True, stdout=subprocess.DEVNULL)
    target = root / "mounted"
    target.mkdir()
    begun = time.perf_counter()
    process = subprocess.Popen([binary, "mount", str(target), "latest"], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        print(f"mount: {(time.perf_counter() - begun) * 1000:.0f} ms until it is there", flush=True)
        directory = str(target) + str(many)
        begun = time.perf_counter()
        with os.scandir(directory) as entries:
            first = [next(entries).name for _ in range(1000)]
        print(f"first listing (1,000 names): {(time.perf_counter() - begun) * 1000:.0f} ms", flush=True)
        begun = time.perf_counter()
        count = sum(1 for _ in os.scandir(directory))
        print(f"whole listing ({count} names): {time.perf_counter() - begun:.2f} s, memory {resident(process.pid):.0f} MiB", flush=True)
        assert count == files and first[0] == "file-0000000"
        begun = time.perf_counter()
        for number in range(0, files, files // 1000):
            os.stat(f"{directory}/file-{number:07}")
        print(f"1,000 files looked up all over it: {time.perf_counter() - begun:.2f} s, memory {resident(process.pid):.0f} MiB", flush=True)
        begun = time.perf_counter()
        size = sum(entry.stat().st_size for entry in os.scandir(directory))
        print(f"ls -l of all of it ({size} bytes): {time.perf_counter() - begun:.1f} s, memory {resident(process.pid):.0f} MiB", flush=True)
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("--files", type=int, default=1_000_000)
    parser.add_argument("--directory", default="/var/tmp")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="people-", dir=arguments.directory))
    try:
        status(os.path.abspath(arguments.binary), root)
        mounted(os.path.abspath(arguments.binary), root, arguments.files)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
