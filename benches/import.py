#!/usr/bin/env python3
"""Import of a repository of restic beside restic's own restore of it: seconds, and bytes read and stored.

    benches/import.py target/x86_64-unknown-linux-gnu/release/mrs-backup INPUT [--nights 3] [--directory /var/tmp]

INPUT is a directory to back up (`cargo run --release --example generate` makes one). restic comes from the search path. The
program has to be built with `--features restic` (`make static`). restic restores each snapshot, one after the other, into a
directory that is emptied in between; the import reads all of them.
"""

import argparse
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path


def timed(command: list[str], environment: dict[str, str]) -> float:
    begun = time.perf_counter()
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("input", type=Path)
    parser.add_argument("--nights", type=int, default=3)
    parser.add_argument("--directory", default="/var/tmp")
    arguments = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="import-", dir=arguments.directory))
    try:
        (root / "password").write_text("correct horse battery\n")
        (root / "password").chmod(0o600)
        base = {"PATH": os.environ["PATH"], "HOME": str(root)}
        restic = base | {"RESTIC_REPOSITORY": str(root / "restic"), "RESTIC_PASSWORD_FILE": str(root / "password"),
                         "RESTIC_CACHE_DIR": str(root / "cache")}
        ours = base | {"MRS_BACKUP_REPOSITORY": str(root / "repo"), "MRS_BACKUP_PASSWORD_FILE": str(root / "password"),
                       "MRS_BACKUP_STATE_DIR": str(root / "state")}
        subprocess.run(["restic", "-q", "init"], env=restic, check=True, stdout=subprocess.DEVNULL)
        copy = root / "input"
        shutil.copytree(arguments.input, copy, symlinks=True)
        for night in range(arguments.nights):
            with open(copy / "night.log", "a") as log:
                log.writelines(f"{night} {line} a line of a log that grows\n" for line in range(200_000))
            subprocess.run(["restic", "-q", "backup", str(copy)], env=restic, check=True, stdout=subprocess.DEVNULL)
        size = sum(path.stat().st_size for path in copy.rglob("*") if path.is_file() and not path.is_symlink())
        print(f"{arguments.nights} snapshots of {size / 1e6:.0f} MB", flush=True)
        snapshots = subprocess.run(["restic", "snapshots", "--json"], env=restic, check=True, capture_output=True, text=True).stdout

        total = 0.0
        for snapshot in json.loads(snapshots):
            target = root / "restored"
            total += timed(["restic", "-q", "restore", snapshot["id"], "--target", str(target)], restic)
            shutil.rmtree(target)
        print(f"restic restore of all: {total:.1f} s", flush=True)
        subprocess.run([arguments.binary, "-q", "init"], env=ours, check=True, stdout=subprocess.DEVNULL)
        took = timed([arguments.binary, "-q", "migrate", "restic", str(root / "restic"), "-i", "mrs"], ours)
        print(f"migrate restic of all: {took:.1f} s, {total / took:.2f} times as fast", flush=True)
    finally:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
