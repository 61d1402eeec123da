"""Tables and plots of what was measured."""

import os
import platform
import re
import statistics
from pathlib import Path

JOBS = ["init", "first", "unchanged", "unchanged, key file", "night 2", "later nights", "restore",
        "restore one file", "list", "check", "forget and prune"]


def spread(values: list[float], digits: int) -> str:
    median, low, high = statistics.median(values), min(values), max(values)
    if len(values) == 1:
        return f"{median:.{digits}f}"
    return f"{median:.{digits}f} ({low:.{digits}f}..{high:.{digits}f})"


def table(results: list[dict], order: list[str]) -> str:
    """One block a job; figures are medians (least..most), ratios are to restic's median."""
    lines = [
        "| job | program | wall s | to restic | cpu s | to restic | peak MB | read MB | repository MB | added MB |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for job in JOBS:
        of_job = [result for result in results if result["job"] == job]
        # With a key file we do what restic does without one.
        against = [r for r in results if r["peer"] == "restic" and r["job"] == job.split(",")[0]]
        for name in order:
            of_peer = [result for result in of_job if result["peer"] == name]
            if of_peer:
                lines.append(f"| {job} | {name} | " + " | ".join(columns(job, of_peer, against)) + " |")
    return "\n".join(lines)


def columns(job: str, of_peer: list[dict], against: list[dict]) -> list[str]:
    def column(key: str, unit: float = 1, digits: int = 2) -> str:
        values = [result[key] / unit for result in of_peer if key in result]
        return spread(values, digits) if values else ""

    def ratio(key: str) -> str:
        if not against:
            return ""
        restic = statistics.median(result[key] for result in against)
        return f"{statistics.median(r[key] for r in of_peer) / max(restic, 0.01):.2f}"

    added = column("added_bytes", 1e6, 1)
    if job == "later nights":
        # The nights are not repetitions of each other.
        added = f"{sum(result['added_bytes'] for result in of_peer) / 1e6:.1f} in all"
    return [
        column("wall_s"), ratio("wall_s"), column("cpu_s"), ratio("cpu_s"), column("peak_bytes", 1e6, 0),
        column("read_bytes", 1e6, 1), column("repository_bytes", 1e6, 1), added,
    ]


def machine() -> str:
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory_kib = int(re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())[1])
    name = model[1] if model else platform.machine()
    return f"{os.cpu_count()} x {name}, {memory_kib / 1e6:.0f} GB, Linux {platform.release()}"


def plot(results: list[dict], order: list[str], directory: Path, scenario: str) -> list[Path]:
    """Repository growth over the nights, and time by job, as far as measured."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "mrs-backup"
    from matplotlib import pyplot

    made = []
    nights = [result for result in results if "night" in result]
    if nights:
        figure, axes = pyplot.subplots(figsize=(7, 4))
        for name in order:
            points = sorted((r["night"], r["repository_bytes"] / 1e6) for r in nights if r["peer"] == name)
            axes.plot(*zip(*points), label=name)
        axes.set(xlabel="night", ylabel="repository, MB", ylim=(0, None))
        axes.legend()
        made.append(save(figure, directory / f"{scenario}-growth.svg"))
    jobs = [job for job in JOBS if job != "init" and any(r["job"] == job for r in results)]
    figure, axes = pyplot.subplots(figsize=(7, 4))
    width = 0.8 / len(order)
    for at, name in enumerate(order):
        medians = [statistics.median([r["wall_s"] for r in results if (r["peer"], r["job"]) == (name, job)] or [0])
                   for job in jobs]
        axes.bar([x + at * width for x in range(len(jobs))], medians, width, label=name)
    axes.set_xticks([x + 0.4 for x in range(len(jobs))], jobs, rotation=25, ha="right")
    axes.set(ylabel="seconds")
    axes.legend()
    made.append(save(figure, directory / f"{scenario}-time.svg"))
    return made


def write_into(document: Path, scenario: str, text: str) -> None:
    """Puts `text` between the marks of `scenario`, in place of what a run before wrote there; at the end of the
    document where it has none."""
    begin, end = f"<!-- peers: {scenario} -->", f"<!-- end of peers: {scenario} -->"
    content = document.read_text()
    before, _, rest = content.partition(begin)
    if not rest:
        before, rest = f"{content.rstrip()}\n\n## Scenario `{scenario}`\n\n", f"{end}\n"
    _, closed, after = rest.partition(end)
    if not closed:
        raise SystemExit(f"peers: {document} has no {end}")
    document.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def save(figure, path: Path) -> Path:
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    return path
