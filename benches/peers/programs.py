"""The programs that are measured, and how each is told to do each job."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Callable

PASSWORD = "correct horse battery staple"
PEERS_DIR = Path(os.environ.get("PEERS_DIR", "/opt/peers"))


@dataclass
class Peer:
    """How one program is told to do each job. `{program}`, `{repo}`, `{state}` and `{out}` are filled
    in, and the names of the snapshot made now (`{next}`) and before (`{last}`), and one `{file}` of it; every
    command runs in the directory that holds `tree`."""

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
                "backup": "{program} --repo {repo} backup tree".split(),
                "export key": ["sh", "-c", "{program} key generate {state}/key && "
                               "{program} --repo {repo} key add --new-key-file {state}/key"],
                "backup, key file": "{program} --repo {repo} --key-file {state}/key backup tree".split(),
                "restore": "{program} --repo {repo} restore latest {out} --yes".split(),
                "restore one file": "{program} --repo {repo} restore latest {out} --yes --include {file}".split(),
                "list": "{program} --repo {repo} ls latest --recursive".split(),
                "check": "{program} --repo {repo} check --read-data".split(),
                # What is condemned waits three days; here they pass at once.
                "forget and prune": ["sh", "-c", "{program} --repo {repo} forget --keep-last 1 --apply --yes && "
                                     "{program} --repo {repo} prune --yes && "
                                     "find {repo}/condemned -type f -exec touch -d '4 days ago' {{}} + && "
                                     "{program} --repo {repo} prune --yes"],
            },
            {"MRS_BACKUP_PASSWORD": PASSWORD, "MRS_BACKUP_STATE_DIR": "{state}/mrs"},
        ),
        Peer(
            "restic",
            "restic",
            ["version"],
            {
                "init": "{program} init".split(),
                "backup": "{program} backup tree".split(),
                "restore": "{program} restore latest --target {out}".split(),
                "restore one file": "{program} restore latest --target {out} --include {file}".split(),
                "list": "{program} ls latest".split(),
                "check": "{program} check --read-data".split(),
                "forget and prune": "{program} forget --keep-last 1 --prune".split(),
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
                "backup": "{program} backup tree".split(),
                "restore": "{program} restore latest {out}".split(),
                "restore one file": "{program} restore latest:{directory} {out} --glob {name}".split(),
                "list": "{program} ls latest".split(),
                "check": "{program} check --read-data".split(),
                "forget and prune": "{program} forget --keep-last 1 --prune --instant-delete".split(),
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
                "backup": "{program} create -C zstd,3 ::{next} tree".split(),
                "restore": ["sh", "-c", "cd {out} && exec {program} extract ::{last}"],
                "restore one file": ["sh", "-c", "cd {out} && exec {program} extract ::{last} {file}"],
                "list": "{program} list ::{last}".split(),
                "check": "{program} check --verify-data".split(),
                "forget and prune": ["sh", "-c", "{program} prune --keep-last 1 && {program} compact"],
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
                "backup": "{program} put -q name={next} tree".split(),
                "restore": "{program} restore -q --into {out} name={last}".split(),
                "restore one file": ["sh", "-c", "{program} get -q --pick {file} name={last} > {out}/one"],
                "list": "{program} list-contents -q name={last}".split(),
                # It has no check that decrypts: getting everything is the nearest.
                "check": ["sh", "-c", "{program} get -q name={last} >/dev/null"],
                "forget and prune": ["sh", "-c", "{program} rm -q --allow-many 'not name={last}' && {program} gc -q"],
            },
            {
                "BUPSTASH_REPOSITORY": "{repo}",
                "BUPSTASH_KEY": "{state}/key",
                "BUPSTASH_SEND_LOG": "{state}/send.log",
                "BUPSTASH_QUERY_CACHE": "{state}/query.cache",
            },
            write_empty_tree,
        ),
        # No backup program: what reading, compressing and writing alone cost.
        Peer(
            "pipe",
            "zstd",
            ["--version"],
            {"backup": ["sh", "-c", "tar cf - tree | {program} -q -2 -T2 -f -o {repo}/tree.tar.zst"]},
            prepare=lambda state: (state / "repo").mkdir(),
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
    return (words.stdout + words.stderr).strip().splitlines()[0].strip("* ")


