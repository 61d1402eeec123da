#!/usr/bin/env python3
"""Measures forget and prune: beside restic after dropping one of many nights, and on very many chunks.

    benches/prune.py nights [--scale 1.0] [--nights 30] [--drop 15]
    benches/prune.py chunks [--chunks 5000000] [--snapshots 400]

`nights` makes the generated instance, lets both programs back up every night of it, drops one in the middle and
frees what only it needed. Ours is forget, the first half, and the second half; between the two the condemned objects
are made four days older, which is how the store's clock is moved. restic's is `forget ID --prune`. What stays is
checked by reading all of it. restic is looked for in $PEERS_DIR (/opt/peers), then in the search path.

`chunks` makes a repository of real index objects and trees over empty packs (benches/synthetic.rs) and prunes it
once with nothing remembered, once with every tree known, and once after a snapshot was dropped.

Wall and processor seconds and peak memory go to standard output, a line each.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

PASSWORD = "correct horse battery staple"
PROGRAM = os.environ.get("MRS_BACKUP", "target/release/mrs-backup")
GENERATE = os.environ.get("GENERATE", "target/release/examples/generate")
SYNTHETIC = os.environ.get("SYNTHETIC", "target/release/examples/synthetic")
PEERS_DIR = Path(os.environ.get("PEERS_DIR", "/opt/peers"))


class Program:
    """One program with its repository, and what it is told in its environment."""

    def __init__(self, name: str, path: str, work: Path, environment: dict[str, str]):
        self.name, self.path, self.work = name, str(Path(path).resolve()), work
        self.repository = work / name
        self.environment = {**os.environ, **environment}

    def run(self, *words: str) -> str:
        done = subprocess.run(
            [self.path, *words], env=self.environment, cwd=self.work, capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"{self.name} {' '.join(words)}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        return done.stdout

    def timed(self, what: str, *words: str) -> float:
        """Runs and tells; gives the wall seconds."""
        os.sync()
        report = self.work / "time"
        timer = ["/usr/bin/time", "--quiet", "-f", "%e %U %S %M", "-o", str(report)]
        done = subprocess.run(
            [*timer, self.path, *words], env=self.environment, cwd=self.work, capture_output=True, text=True
        )
        if done.returncode != 0:
            sys.exit(f"{self.name} {what}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        wall, user, system, peak = (float(word) for word in report.read_text().split())
        print(
            f"{self.name:7} {what:34} {wall:8.2f} s  cpu {user + system:8.2f} s  peak {peak / 1000:6.0f} MB",
            flush=True,
        )
        return wall

    def bytes(self) -> int:
        return sum(file.stat().st_size for file in self.repository.rglob("*") if file.is_file())


def ours(work: Path) -> Program:
    return Program("mrs", PROGRAM, work, {
        "MRS_BACKUP_REPOSITORY": str(work / "mrs"),
        "MRS_BACKUP_PASSWORD": PASSWORD,
        "MRS_BACKUP_STATE_DIR": str(work / "state"),
    })


def restic(work: Path) -> Program | None:
    found = sorted(PEERS_DIR.glob("restic-*"))
    path = str(found[-1]) if found else shutil.which("restic")
    if not path:
        return None
    return Program("restic", path, work, {
        "RESTIC_REPOSITORY": str(work / "restic"),
        "RESTIC_PASSWORD": PASSWORD,
        "RESTIC_CACHE_DIR": str(work / "cache"),
        "RESTIC_PROGRESS_FPS": "0.01",
    })


def four_days_pass(program: Program) -> None:
    then = time.time() - 4 * 86_400
    condemned = [file for file in (program.repository / "condemned").rglob("*") if file.is_file()]
    if not condemned:
        sys.exit("nothing was condemned")
    for file in condemned:
        os.utime(file, (then, then))


def summaries(text: str) -> list[dict]:
    return [json.loads(line) for line in text.splitlines()]


def nights(options: argparse.Namespace, work: Path) -> None:
    mrs, peer = ours(work), restic(work)
    if peer is None:
        sys.exit("restic is not there; see benches/peers-install.sh")
    mrs.run("init")
    peer.run("init")
    ids = {"mrs": [], "restic": []}
    for night in range(1, options.nights + 1):
        made = [GENERATE, str(work / "tree"), "--scale", str(options.scale), "--night", str(night)]
        subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
        line = summaries(mrs.run("backup", "tree", "--json"))[-1]
        ids["mrs"].append(line["snapshot"])
        line = summaries(peer.run("backup", "tree", "--json"))[-1]
        ids["restic"].append(line["snapshot_id"])
        print(f"night {night} of {options.nights}", file=sys.stderr, flush=True)
    before = {program.name: program.bytes() for program in (mrs, peer)}
    wall = mrs.timed("forget", "forget", ids["mrs"][options.drop - 1], "--apply")
    wall += mrs.timed("prune, first half", "prune", "--yes")
    four_days_pass(mrs)
    wall += mrs.timed("prune, second half", "prune", "--yes")
    other = peer.timed("forget --prune", "forget", ids["restic"][options.drop - 1], "--prune")
    for program in (mrs, peer):
        print(f"{program.name:7} {before[program.name] / 1e6:.1f} MB before, {program.bytes() / 1e6:.1f} MB after")
        program.run("check", "--read-data")
    print(f"mrs to restic: {wall / other:.2f}")


def chunks(options: argparse.Namespace, work: Path) -> None:
    mrs = ours(work)
    mrs.run("init")
    made = [SYNTHETIC, str(mrs.repository), str(options.chunks), str(options.snapshots)]
    subprocess.run(made, check=True, env=mrs.environment, stdout=sys.stderr)
    # Nothing is rewritten: the packs are empty.
    prune = ["prune", "--max-unused", "unlimited"]
    mrs.run("snapshots")
    mrs.timed("plan, nothing remembered", *prune, "--dry-run")
    mrs.timed("plan, every tree known", *prune, "--dry-run")
    listed = summaries(mrs.run("snapshots", "--json"))
    ids = [line["id"] for line in listed if line.get("type") == "snapshot"]
    # Even nights are the ones whose files the next night replaces.
    mrs.timed("forget", "forget", ids[len(ids) // 4 * 2], "--apply")
    mrs.timed("prune, first half", *prune, "--yes")
    four_days_pass(mrs)
    mrs.timed("prune, second half", *prune, "--yes")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=["nights", "chunks"])
    options.add_argument("--scale", type=float, default=1.0)
    options.add_argument("--nights", type=int, default=30)
    options.add_argument("--drop", type=int, default=15)
    options.add_argument("--chunks", type=int, default=5_000_000)
    options.add_argument("--snapshots", type=int, default=400)
    options.add_argument("--work", type=Path, default=Path("target/bench-prune"))
    chosen = options.parse_args()
    work = chosen.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    {"nights": nights, "chunks": chunks}[chosen.what](chosen, work)
    shutil.rmtree(work)


main()
