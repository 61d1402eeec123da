#!/usr/bin/env python3
"""Measures mrs-backup beside restic, rustic, borg and bupstash.

Every peer does the same jobs on the same generated tree: first backup, a second one of the unchanged
tree, one of the next night, a full restore (compared with the tree), a check that reads all data.
The rounds are interleaved: each round does all jobs of one peer after the other, starting with
another peer each time, so that a machine that gets slower does not favour any. Every job starts with
everything written back (`sync`); the page cache is left warm.

A markdown table goes to standard output, one JSON line a job to --json, progress to standard error.
"""

import argparse
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

PASSWORD = "correct horse battery staple"
JOBS = ["init", "first", "unchanged", "unchanged, key file", "night 2", "restore", "check"]
GENERATE = os.environ.get("GENERATE", "target/release/examples/generate")
PEERS_DIR = Path(os.environ.get("PEERS_DIR", "/opt/peers"))


@dataclass
class Peer:
    """How one program is told to do each job. `{program}`, `{repo}`, `{state}` and `{out}` are filled
    in; every command runs in the directory that holds `tree`."""

    name: str
    program: str
    version: list[str]
    jobs: dict[str, list[str]]
    environment: dict[str, str] = field(default_factory=dict)
    # Run before anything is timed, for what a job needs.
    prepare: Callable[[Path], None] | None = None


def write_empty_tree(state: Path) -> None:
    """Borg and bupstash restore into a directory that is there."""
    (state / "out").mkdir()


def peers() -> list[Peer]:
    return [
        Peer(
            "mrs",
            os.environ.get("MRS_BACKUP", str(Path("target/release/mrs-backup").resolve())),
            ["--version"],
            {
                "init": "{program} --repo {repo} init".split(),
                "first": "{program} --repo {repo} backup tree".split(),
                "unchanged": "{program} --repo {repo} backup tree".split(),
                "export key": ["sh", "-c", "{program} key generate {state}/key && "
                               "{program} --repo {repo} key add --new-key-file {state}/key"],
                "unchanged, key file": "{program} --repo {repo} --key-file {state}/key backup tree".split(),
                "night 2": "{program} --repo {repo} backup tree".split(),
                "restore": "{program} --repo {repo} restore latest {out} --yes".split(),
                "check": "{program} --repo {repo} check --read-data".split(),
            },
            {"MRS_BACKUP_PASSWORD": PASSWORD, "MRS_BACKUP_STATE_DIR": "{state}/mrs"},
        ),
        Peer(
            "restic",
            "restic",
            ["version"],
            {
                "init": "{program} init".split(),
                "first": "{program} backup tree".split(),
                "unchanged": "{program} backup tree".split(),
                "night 2": "{program} backup tree".split(),
                "restore": "{program} restore latest --target {out}".split(),
                "check": "{program} check --read-data".split(),
            },
            {
                "RESTIC_REPOSITORY": "{repo}",
                "RESTIC_PASSWORD": PASSWORD,
                "RESTIC_CACHE_DIR": "{state}/cache",
                "RESTIC_PROGRESS_FPS": "0.01",
            },
        ),
        Peer(
            "rustic",
            "rustic",
            ["--version"],
            {
                "init": "{program} init".split(),
                "first": "{program} backup tree".split(),
                "unchanged": "{program} backup tree".split(),
                "night 2": "{program} backup tree".split(),
                "restore": "{program} restore latest {out}".split(),
                "check": "{program} check --read-data".split(),
            },
            {
                "RUSTIC_REPOSITORY": "{repo}",
                "RUSTIC_PASSWORD": PASSWORD,
                "RUSTIC_CACHE_DIR": "{state}/cache",
                "RUSTIC_NO_PROGRESS": "true",
            },
        ),
        Peer(
            "borg",
            "borg",
            ["--version"],
            {
                "init": "{program} init -e repokey".split(),
                "first": "{program} create -C zstd,3 ::first tree".split(),
                "unchanged": "{program} create -C zstd,3 ::unchanged tree".split(),
                "night 2": "{program} create -C zstd,3 ::night2 tree".split(),
                "restore": ["sh", "-c", "cd {out} && {program} extract ::night2"],
                "check": "{program} check --verify-data".split(),
            },
            {
                "BORG_REPO": "{repo}",
                "BORG_PASSPHRASE": PASSWORD,
                "BORG_BASE_DIR": "{state}/borg",
            },
            write_empty_tree,
        ),
        Peer(
            "bupstash",
            "bupstash",
            ["version"],
            {
                "init": ["sh", "-c", "{program} init && {program} new-key -o {state}/key"],
                "first": "{program} put -q name=first tree".split(),
                "unchanged": "{program} put -q name=unchanged tree".split(),
                "night 2": "{program} put -q name=night2 tree".split(),
                "restore": "{program} restore -q --into {out} name=night2".split(),
                # It has no check that decrypts: getting everything is the nearest.
                "check": ["sh", "-c", "{program} get -q name=night2 >/dev/null"],
            },
            {
                "BUPSTASH_REPOSITORY": "{repo}",
                "BUPSTASH_KEY": "{state}/key",
                "BUPSTASH_SEND_LOG": "{state}/send.log",
                "BUPSTASH_QUERY_CACHE": "{state}/query.cache",
            },
            write_empty_tree,
        ),
    ]


def find_program(peer: Peer) -> str | None:
    """What peers-install.sh left in its directory goes before what the system has."""
    newest_first = sorted(PEERS_DIR.glob(f"{peer.name}-*"), key=version_key, reverse=True)
    found = next((str(path) for path in newest_first if os.access(path, os.X_OK)), None)
    return found or shutil.which(peer.program)


def version_key(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def version(peer: Peer) -> str:
    words = subprocess.run([peer.program, *peer.version], capture_output=True, text=True)
    return (words.stdout + words.stderr).strip().splitlines()[0]


class Instance:
    """The tree everybody backs up: the first night, then in place the second, as on a server, so that
    an unchanged file keeps its inode and its times."""

    def __init__(self, work: Path, scale: float, small: bool):
        self.what = ["--small-files", str(round(200_000 * scale))] if small else ["--scale", str(scale)]
        self.first_night, self.tree = work / "first-night", work / "tree"
        shutil.rmtree(self.first_night, ignore_errors=True)
        subprocess.run([GENERATE, self.first_night, *self.what], check=True, stdout=sys.stderr)

    def reset(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        subprocess.run(["cp", "-a", self.first_night, self.tree], check=True)

    def age(self) -> None:
        again = [GENERATE, self.tree, *self.what, "--night", "2"]
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL)


class Round:
    """One peer, once through all jobs, in directories of its own."""

    def __init__(self, peer: Peer, work: Path, instance: "Instance", number: int, verify: bool):
        self.peer, self.instance, self.number, self.verify = peer, instance, number, verify
        self.dir = work / f"{peer.name}-{number}"
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        self.out = self.dir / "out"
        self.places = {
            "program": peer.program,
            "repo": str(self.dir / "repo"),
            "state": str(self.dir),
            "out": str(self.out),
        }
        if peer.prepare:
            peer.prepare(self.dir)

    def results(self):
        self.instance.reset()
        yield self.timed("init")
        yield self.timed("first") | {"repository_bytes": self.repository_bytes()}
        yield self.timed("unchanged")
        if "export key" in self.peer.jobs and self.try_untimed("export key"):
            yield self.timed("unchanged, key file")
        before = self.repository_bytes()
        self.instance.age()
        after_night = self.timed("night 2")
        after = self.repository_bytes()
        yield after_night | {"repository_bytes": after, "added_bytes": after - before}
        yield self.timed("restore")
        if self.verify:
            self.compare_restored()
        shutil.rmtree(self.out)
        yield self.timed("check")
        shutil.rmtree(self.dir)

    def repository_bytes(self) -> int:
        return sum(f.stat().st_size for f in (self.dir / "repo").rglob("*") if f.is_file())

    def command(self, job: str) -> list[str]:
        return [word.format(**self.places) for word in self.peer.jobs[job]]

    def environment(self) -> dict[str, str]:
        own = {name: value.format(**self.places) for name, value in self.peer.environment.items()}
        return {**os.environ, **own}

    def try_untimed(self, job: str) -> bool:
        done = subprocess.run(
            self.command(job), env=self.environment(), cwd=self.instance.tree.parent, capture_output=True
        )
        if done.returncode != 0:
            say(f"  {self.peer.name}: {job} failed, what needs it is left out")
        return done.returncode == 0

    def timed(self, job: str) -> dict:
        os.sync()
        report = self.dir / "time"
        time = ["/usr/bin/time", "--quiet", "-f", "%e %U %S %M", "-o", str(report)]
        log = self.dir / "output"
        with log.open("wb") as output:
            done = subprocess.run(
                time + self.command(job),
                env=self.environment(),
                cwd=self.instance.tree.parent,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if done.returncode != 0:
            sys.stderr.write(log.read_text(errors="replace")[-2000:])
            sys.exit(f"peers: {self.peer.name} failed at {job!r} with {done.returncode}")
        wall, user, system, peak_kib = (float(word) for word in report.read_text().split())
        say(f"  {self.peer.name:9} {job:20} {wall:8.2f} s")
        return {
            "peer": self.peer.name,
            "round": self.number,
            "job": job,
            "wall_s": wall,
            "cpu_s": round(user + system, 2),
            "peak_bytes": int(peak_kib) * 1024,
        }

    def compare_restored(self) -> None:
        """A fast restore of something else is worth nothing."""
        # Programs differ in how much of the path they put below the target.
        inside = self.out
        marker = next(os.scandir(self.instance.tree)).name
        while not (inside / marker).exists():
            (below,) = inside.iterdir()
            inside = below
        different = subprocess.run(["diff", "-rq", self.instance.tree, inside], capture_output=True, text=True)
        if different.returncode != 0:
            sys.exit(f"peers: {self.peer.name} restored something else:\n{different.stdout[:2000]}")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def spread(values: list[float], digits: int) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def table(results: list[dict], order: list[str]) -> str:
    """One block a job; times are median (min..max), ratios are to restic's median."""
    lines = [
        "| job | program | wall s | to restic | cpu s | peak MB | repository MB | added MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for job in JOBS:
        of_job = [result for result in results if result["job"] == job]
        # With a key file we do what restic does without one.
        against = [r for r in results if r["peer"] == "restic" and r["job"] == job.split(",")[0]]
        for name in order:
            of_peer = [result for result in of_job if result["peer"] == name]
            if not of_peer:
                continue

            def column(key: str, unit: float = 1, digits: int = 2) -> str:
                values = [result[key] / unit for result in of_peer if key in result]
                return spread(values, digits) if values else ""

            ratio = ""
            if against:
                restic = statistics.median(result["wall_s"] for result in against)
                ratio = f"{statistics.median(r['wall_s'] for r in of_peer) / max(restic, 0.01):.2f}"
            lines.append(
                f"| {job} | {name} | {column('wall_s')} | {ratio} | {column('cpu_s')} "
                f"| {column('peak_bytes', 1e6, 0)} | {column('repository_bytes', 1e6, 1)} "
                f"| {column('added_bytes', 1e6, 1)} |"
            )
    return "\n".join(lines)


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    name = model[1] if model else platform.machine()
    return f"{os.cpu_count()} x {name}, {memory_kib / 1e6:.0f} GB, Linux {platform.release()}"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--scale", type=float, default=1.0)
    options.add_argument("--small", action="store_true", help="200,000 small files instead of an instance")
    options.add_argument("--work", type=Path, default=Path("target/peers"))
    options.add_argument("--only", help="names of programs, separated by commas")
    options.add_argument("--list", action="store_true", help="tell what was found, measure nothing")
    options.add_argument("--json", type=Path, help="default: WORK/results.jsonl")
    chosen = options.parse_args()

    work = chosen.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    found = []
    for peer in peers():
        if chosen.only and peer.name not in chosen.only.split(","):
            continue
        if program := find_program(peer):
            peer.program = program
            found.append(peer)
        elif chosen.only:
            sys.exit(f"peers: {peer.name} is not installed")
    if not found:
        sys.exit("peers: none found; see benches/peers-install.sh")

    print(f"{machine()}; {chosen.rounds} rounds; scale {chosen.scale:g}"
          + ("; small files" if chosen.small else ""))
    for peer in found:
        print(f"- {peer.name}: {version(peer)}")

    if chosen.list:
        return

    instance = Instance(work, chosen.scale, chosen.small)
    results: list[dict] = []
    with (chosen.json or work / "results.jsonl").open("w") as lines:
        for number in range(1, chosen.rounds + 1):
            say(f"round {number}")
            start = (number - 1) % len(found)
            for peer in found[start:] + found[:start]:
                # The first round of each is also proven right.
                for result in Round(peer, work, instance, number, verify=number == 1).results():
                    results.append(result)
                    lines.write(json.dumps(result) + "\n")
                    lines.flush()
    print()
    print(table(results, [peer.name for peer in found]))


if __name__ == "__main__":
    main()
