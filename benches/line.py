#!/usr/bin/env python3
"""Backups over a bad line: 150 ms there and back, 20 Mbit/s each way, made by a proxy of this script.

    benches/line.py [--mib 64] [--round-trip 0.15] [--mbit 20]

A repository and a copy on S3 (`rclone serve s3`), on FTP (vsftpd, in clear) and on SFTP (OpenSSH), each reached through the line only. For every
job: seconds, bytes sent and received, connections, and which share of what the line could carry meanwhile was used.
Needs root, sshd, vsftpd, and target/rclone/rclone (tests/run.sh makes it). The program is target/release/mrs-backup, or
$MRS_BACKUP.
"""

import argparse
import asyncio
import getpass
import os
import pwd
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PROGRAM = Path(os.environ.get("MRS_BACKUP", "target/release/mrs-backup")).resolve()
RCLONE = Path("target/rclone/rclone").resolve()
PIECE = 16 << 10


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Way:
    """One direction of the line, shared by all connections: so many bytes a second, each later by the delay."""

    def __init__(self, bytes_a_second: float, delay: float):
        self.rate, self.delay = bytes_a_second, delay
        self.free_at, self.bytes = 0.0, 0

    def arrival(self, length: int) -> tuple[float, float]:
        """When the last byte has been sent, and when it arrives."""
        sent = max(self.free_at, time.monotonic()) + length / self.rate
        self.free_at = sent
        self.bytes += length
        return sent, sent + self.delay


class Line(threading.Thread):
    """A proxy on a port of its own, in a thread of its own."""

    def __init__(self, server: int, round_trip: float, mbit: float, is_ftp: bool = False):
        super().__init__(daemon=True)
        self.is_ftp = is_ftp
        self.server, self.port, self.connections = server, free_port(), 0
        self.up, self.down = (Way(mbit * 1e6 / 8, round_trip / 2) for _ in range(2))
        self.is_ready = threading.Event()
        self.start()
        self.is_ready.wait()

    def run(self) -> None:
        asyncio.run(self.serve())

    async def serve(self) -> None:
        server = await asyncio.start_server(self.connect, "127.0.0.1", self.port)
        self.is_ready.set()
        async with server:
            await server.serve_forever()

    async def connect(self, reader, writer) -> None:
        await self.connect_to(self.server, reader, writer, self.is_ftp)

    async def connect_to(self, port: int, reader, writer, is_control: bool = False) -> None:
        self.connections += 1
        # The three-way handshake takes one round trip.
        await asyncio.sleep(self.up.delay + self.down.delay)
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(
            self.carry(reader, back, self.up), self.carry(there, writer, self.down, is_control)
        )

    async def by_the_line(self, answer: bytes) -> bytes:
        """What FTP says of where data are to be fetched leads to a port of this line, too."""
        found = re.match(rb"229 .*\(\|\|\|(\d+)\|\)", answer)
        if not found:
            return answer
        port = int(found[1])
        data = await asyncio.start_server(lambda r, w: self.connect_to(port, r, w), "127.0.0.1", 0)
        ours = data.sockets[0].getsockname()[1]
        return b"229 Entering Extended Passive Mode (|||%d|)\r\n" % ours

    async def carry(self, reader, writer, way: Way, is_control: bool = False) -> None:
        on_the_way: asyncio.Queue = asyncio.Queue()

        async def deliver() -> None:
            while (item := await on_the_way.get()) is not None:
                arrival, piece = item
                await asyncio.sleep(max(0.0, arrival - time.monotonic()))
                writer.write(piece)
                await writer.drain()
            writer.close()

        delivery = asyncio.create_task(deliver())
        try:
            while piece := await (reader.readline() if is_control else reader.read(PIECE)):
                if is_control:
                    piece = await self.by_the_line(piece)
                sent, arrival = way.arrival(len(piece))
                on_the_way.put_nowait((arrival, piece))
                await asyncio.sleep(max(0.0, sent - time.monotonic()))
        except OSError:
            pass
        on_the_way.put_nowait(None)
        try:
            await delivery
        except OSError:
            pass


def s3_server(work: Path) -> tuple[subprocess.Popen, int]:
    port = free_port()
    (work / "s3/bucket").mkdir(parents=True)
    command = [RCLONE, "serve", "s3", "--addr", f"127.0.0.1:{port}", "--auth-key", "backup,secret",
               "--config", work / "none.conf", work / "s3"]
    return start(command, work / "s3.log"), port


def ssh_server(work: Path) -> tuple[subprocess.Popen, int]:
    port = free_port()
    for key in ("host", "user"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / key], check=True)
    (work / "sftp").mkdir()
    (work / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {work}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PasswordAuthentication no\nPermitRootLogin yes\nAuthorizedKeysFile {work}/user.pub\n"
        "Subsystem sftp internal-sftp\nMaxStartups 100\n"
    )
    Path("/run/sshd").mkdir(exist_ok=True)
    return start(["/usr/sbin/sshd", "-D", "-e", "-f", work / "sshd_config"], work / "sshd.log"), port


def ftp_server(work: Path) -> tuple[subprocess.Popen, int]:
    port = free_port()
    (work / "ftp/files").mkdir(parents=True)
    (work / "empty").mkdir()
    work.chmod(0o755)
    (work / "ftp").chmod(0o755)
    user = pwd.getpwnam("ftp")
    os.chown(work / "ftp/files", user.pw_uid, user.pw_gid)
    (work / "vsftpd.conf").write_text(
        f"listen=YES\nlisten_address=127.0.0.1\nlisten_port={port}\nbackground=NO\nseccomp_sandbox=NO\n"
        "anonymous_enable=YES\nlocal_enable=NO\nwrite_enable=YES\nanon_upload_enable=YES\nanon_mkdir_write_enable=YES\n"
        f"anon_other_write_enable=YES\nanon_world_readable_only=NO\nanon_root={work}/ftp\nno_anon_password=YES\n"
        f"secure_chroot_dir={work}/empty\npasv_promiscuous=YES\n"
    )
    return start(["/usr/sbin/vsftpd", work / "vsftpd.conf"], work / "vsftpd.log"), port


def start(command: list, log: Path) -> subprocess.Popen:
    with log.open("wb") as output:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def wait_for(port: int) -> None:
    for _ in range(300):
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f"nobody listens on {port}")


def write_client(work: Path, port: int) -> Path:
    host_key = (work / "host.pub").read_text()
    (work / "known").write_text(f"[127.0.0.1]:{port} {host_key}")
    (work / "ssh_config").write_text(
        f"Host backup\n HostName 127.0.0.1\n Port {port}\n User {getpass.getuser()}\n IdentityFile {work}/user\n"
        f" IdentitiesOnly yes\n UserKnownHostsFile {work}/known\n StrictHostKeyChecking yes\n"
    )
    return work / "ssh_config"


class Jobs:
    def __init__(self, work: Path, name: str, location: str, line: Line):
        self.work, self.name, self.line = work, name, line
        self.environment = {
            **os.environ, "MRS_BACKUP_REPOSITORY": location, "MRS_BACKUP_PASSWORD": "correct horse",
            "MRS_BACKUP_STATE_DIR": str(work / f"state-{name}"),
            "AWS_ACCESS_KEY_ID": "backup", "AWS_SECRET_ACCESS_KEY": "secret",
        }

    def run(self, job: str, *words: str) -> None:
        up, down, connections = self.line.up.bytes, self.line.down.bytes, self.line.connections
        began = time.monotonic()
        done = subprocess.run([PROGRAM, *words], env=self.environment, cwd=self.work, capture_output=True, text=True)
        seconds = time.monotonic() - began
        if done.returncode != 0:
            sys.exit(f"{self.name} {job}: {done.returncode}\n{done.stderr[-2000:]}")
        up, down = self.line.up.bytes - up, self.line.down.bytes - down
        share = max(up, down) / (self.line.up.rate * seconds)
        trips = seconds / (self.line.up.delay + self.line.down.delay)
        print(f"| {self.name} | {job} | {seconds:.1f} | {trips:.0f} | {up / 1e6:.2f} | {down / 1e6:.2f} | "
              f"{self.line.connections - connections} | {share:.2f} |", flush=True)


def measure_copy(work: Path, name: str, location: str, line: Line) -> None:
    """Nights of an instance whose repository is here, and whose copy is behind the line."""
    jobs = Jobs(work, name, str(work / f"local-{name}"), line)
    (work / "password").write_text("correct horse")
    (work / "password").chmod(0o600)
    config = work / f"{name}.toml"
    config.write_text(
        f'version = 1\n[instance.app]\nhome = "{work}/data"\nrepository = "{work}/local-{name}"\n'
        f'key = {{ file = "{work}/password" }}\npaths = ["0"]\ntimezone = "UTC"\n'
        f'[instance.app.copy.off]\nlocation = "{location}"\n'
    )
    config.chmod(0o600)
    jobs.environment.pop("MRS_BACKUP_REPOSITORY")
    jobs.environment.pop("MRS_BACKUP_PASSWORD")
    for job, words in [("copy: init", "init"), ("copy: first night", "run"), ("copy: unchanged night", "run"),
                       ("copy: nothing new", "copy")]:
        jobs.run(job, "-c", str(config), words)


def measure(work: Path, name: str, location: str, line: Line) -> None:
    jobs = Jobs(work, name, location, line)
    jobs.run("init", "init")
    jobs.run("first backup", "backup", "data")
    jobs.run("unchanged night", "backup", "data")
    jobs.run("snapshots", "snapshots")
    jobs.run("restore", "restore", "latest", str(work / f"out-{name}"), "--yes")
    restored = Path(f"{work}/out-{name}{work}/data")
    subprocess.run(["diff", "-r", work / "data", restored], check=True)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--mib", type=int, default=64, help="what is backed up; it does not compress")
    options.add_argument("--round-trip", type=float, default=0.15)
    options.add_argument("--mbit", type=float, default=20)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="line-") as directory:
        work = Path(directory)
        (work / "data").mkdir()
        for number in range(8):
            (work / f"data/{number}").write_bytes(os.urandom(chosen.mib << 17))
        running = []
        try:
            print("| place | job | seconds | as round trips | MB sent | MB received | connections | of the line |")
            print("|---|---|---:|---:|---:|---:|---:|---:|")
            server, port = s3_server(work)
            running.append(server)
            wait_for(port)
            line = Line(port, chosen.round_trip, chosen.mbit)
            measure(work, "s3", f"s3:127.0.0.1:{line.port}/bucket/repository", line)
            measure_copy(work, "s3", f"s3:127.0.0.1:{line.port}/bucket/copy", line)
            server, port = ftp_server(work)
            running.append(server)
            wait_for(port)
            line = Line(port, chosen.round_trip, chosen.mbit, is_ftp=True)
            measure(work, "ftp", f"ftp://127.0.0.1:{line.port}/files/repository", line)
            measure_copy(work, "ftp", f"ftp://127.0.0.1:{line.port}/files/copy", line)
            server, port = ssh_server(work)
            running.append(server)
            wait_for(port)
            line = Line(port, chosen.round_trip, chosen.mbit)
            config = write_client(work, line.port)
            measure(work, "sftp", f"sftp://backup{work}/sftp/repository?ssh-config={config}", line)
            measure_copy(work, "sftp", f"sftp://backup{work}/sftp/copy?ssh-config={config}", line)
        finally:
            for server in running:
                server.terminate()
                server.wait()


if __name__ == "__main__":
    main()
