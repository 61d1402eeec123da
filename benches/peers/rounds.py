"""Runs the jobs and measures them."""

import filecmp
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from programs import Peer

GENERATE = os.environ.get("GENERATE", "target/release/examples/generate")

# Files changed within the last seconds are read again by careful programs, as their times may not tell
# of another change. Nothing on a server changes right before its nightly backup.
SETTLE = 3


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Instance:
    """The tree everybody backs up: aged in place from night to night, as on a server, so that an
    unchanged file keeps its inode and its times."""

    def __init__(self, work: Path, what: list[str]):
        self.what = what
        self.first_night, self.tree = work / "first-night", work / "tree"
        shutil.rmtree(self.first_night, ignore_errors=True)
        subprocess.run([GENERATE, self.first_night, *self.what], check=True, stdout=sys.stderr)

    def reset(self) -> None:
        shutil.rmtree(self.tree, ignore_errors=True)
        subprocess.run(["cp", "-a", self.first_night, self.tree], check=True)
        time.sleep(SETTLE)

    def age(self, night: int) -> None:
        again = [GENERATE, self.tree, *self.what, "--night", str(night)]
        subprocess.run(again, check=True, stdout=subprocess.DEVNULL)
        time.sleep(SETTLE)

    def one_file(self) -> Path:
        """The same for everybody: of those in the middle by size, the first by name."""
        files = sorted((f.stat().st_size, f) for f in self.tree.rglob("*") if f.is_file())
        return files[len(files) * 99 // 100][1].relative_to(self.tree)


class Series:
    """One program with a repository of its own."""

    def __init__(self, peer: Peer, work: Path, instance: Instance, number: int):
        self.peer, self.instance, self.number = peer, instance, number
        self.dir = work / f"{peer.name}-{number}"
        self.out = self.dir / "out"
        self.snapshots = 0
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        if peer.prepare:
            peer.prepare(self.dir)

    def remove(self) -> None:
        shutil.rmtree(self.dir)

    def init(self) -> dict:
        return self.timed("init", "init")

    def backup(self, job: str, how: str = "backup") -> dict:
        before = self.repository_bytes()
        result = self.timed(job, how)
        self.snapshots += 1
        after = self.repository_bytes()
        return result | {"repository_bytes": after, "added_bytes": after - before}

    def restore(self, verify: bool) -> dict:
        result = self.into_empty_out("restore")
        if verify:
            self.compare_restored()
        return result

    def into_empty_out(self, job: str) -> dict:
        shutil.rmtree(self.out, ignore_errors=True)
        if self.peer.prepare:
            self.out.mkdir()
        return self.timed(job, job)

    def restore_one(self) -> dict:
        result = self.into_empty_out("restore one file")
        wanted = self.instance.tree / self.instance.one_file()
        found = [file for file in self.out.rglob("*") if file.is_file()]
        if len(found) != 1 or not filecmp.cmp(found[0], wanted, shallow=False):
            sys.exit(f"peers: {self.peer.name} restored {found} for {wanted}")
        return result

    def repository_bytes(self) -> int:
        repository = self.dir / "repo"
        return sum(f.stat().st_size for f in repository.rglob("*") if f.is_file())

    def command(self, how: str) -> list[str]:
        file = self.instance.one_file() if "one file" in how else Path("none")
        places = {
            "program": self.peer.program,
            "repo": str(self.dir / "repo"),
            "state": str(self.dir),
            "out": str(self.out),
            "last": f"night{self.snapshots}",
            "next": f"night{self.snapshots + 1}",
            "file": str(self.instance.tree.name / file),
            "name": file.name,
            "directory": str(self.instance.tree.name / file.parent),
        }
        return [word.format(**places) for word in self.peer.jobs[how]]

    def environment(self) -> dict[str, str]:
        own = {name: value.format(state=self.dir, repo=self.dir / "repo")
               for name, value in self.peer.environment.items()}
        return {**os.environ, **own}

    def try_untimed(self, how: str) -> bool:
        done = subprocess.run(
            self.command(how), env=self.environment(), cwd=self.instance.tree.parent, capture_output=True
        )
        if done.returncode != 0:
            say(f"  {self.peer.name}: {how} failed, what needs it is left out")
        return done.returncode == 0

    def timed(self, job: str, how: str) -> dict:
        """Wall time, processor time, peak memory, and bytes asked of the system by reads."""
        command = self.command(how)
        os.sync()
        log = self.dir / "output"
        with log.open("wb") as output:
            began = time.perf_counter()
            child = subprocess.Popen(
                command, env=self.environment(), cwd=self.instance.tree.parent,
                stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
            )
            os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
            wall = time.perf_counter() - began
            # Not reaped yet, so that its counters are still there.
            counters = dict(line.split(": ") for line in Path(f"/proc/{child.pid}/io").read_text().splitlines())
            _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            sys.stderr.write(log.read_text(errors="replace")[-2000:])
            sys.exit(f"peers: {self.peer.name} failed at {job!r} with {child.returncode}: {command}")
        say(f"  {self.peer.name:9} {job:20} {wall:8.2f} s")
        return {
            "peer": self.peer.name,
            "round": self.number,
            "job": job,
            "wall_s": round(wall, 3),
            "cpu_s": round(usage.ru_utime + usage.ru_stime, 3),
            "peak_bytes": usage.ru_maxrss * 1024,
            "read_bytes": int(counters["rchar"]),
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


def two_nights(peers: list[Peer], work: Path, instance: Instance, rounds: int):
    """Each round does all jobs of one program after the other, starting with another one each time, so
    that a machine that gets slower does not favour any."""
    for number in range(1, rounds + 1):
        say(f"round {number}")
        start = (number - 1) % len(peers)
        for peer in peers[start:] + peers[:start]:
            instance.reset()
            series = Series(peer, work, instance, number)
            yield from jobs_of_a_round(series, instance, number)
            series.remove()


def jobs_of_a_round(series: Series, instance: Instance, number: int):
    can = series.peer.jobs
    if "init" not in can:
        yield series.backup("first")
        return
    yield series.init()
    yield series.backup("first")
    yield series.backup("unchanged")
    if "export key" in can and series.try_untimed("export key"):
        yield series.backup("unchanged, key file", "backup, key file")
    instance.age(2)
    yield series.backup("night 2")
    # The first round of each is also proven right.
    yield series.restore(verify=number == 1)
    yield series.restore_one()
    yield series.timed("list", "list")
    yield series.timed("check", "check")
    yield series.timed("forget and prune", "forget and prune") | {"repository_bytes": series.repository_bytes()}


def many_nights(peers: list[Peer], work: Path, instance: Instance, nights: int):
    """All programs see each night before the next one comes; then the last is restored."""
    instance.reset()
    peers = [peer for peer in peers if "restore" in peer.jobs]
    all_series = [Series(peer, work, instance, 1) for peer in peers]
    for series in all_series:
        yield series.init()
    for night in range(1, nights + 1):
        say(f"night {night}")
        if night > 1:
            instance.age(night)
        start = night % len(peers)
        for series in all_series[start:] + all_series[:start]:
            job = "first" if night == 1 else "later nights"
            yield series.backup(job) | {"night": night}
    for series in all_series:
        yield series.restore(verify=True)
        yield series.restore_one()
        yield series.timed("list", "list")
        yield series.timed("check", "check")
        series.remove()
