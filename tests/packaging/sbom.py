"""Writes what the program is made of, as CycloneDX 1.5: the crates of a release build with versions, licences,
checksums and who needs whom. The same lock file gives the same bytes: no time, no random number.

    python3 tests/packaging/sbom.py [FEATURES] >sbom.cdx.json
"""

import json
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def metadata(features: str) -> dict:
    host = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    host = next(line.split()[1] for line in host.splitlines() if line.startswith("host:"))
    command = ["cargo", "metadata", "--locked", "--format-version=1", "--features", features, "--filter-platform", host]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    return json.loads(done.stdout)


def needed(resolve: dict) -> dict[str, list[str]]:
    """Crates that become part of the program, or make a part of it, and what each needs; none that only tests need."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    found: dict[str, list[str]] = {}
    pending = [resolve["root"]]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        is_wanted = [dep["pkg"] for dep in nodes[name]["deps"] if any(kind["kind"] != "dev" for kind in dep["dep_kinds"])]
        found[name] = sorted(is_wanted)
        pending.extend(is_wanted)
    return found


def main() -> None:
    data = metadata(sys.argv[1] if len(sys.argv) > 1 else "restic")
    lock = tomllib.loads((ROOT / "Cargo.lock").read_text())
    checksums = {(one["name"], one["version"]): one.get("checksum") for one in lock["package"]}
    packages = {one["id"]: one for one in data["packages"]}
    wanted = needed(data["resolve"])
    root = data["resolve"]["root"]

    def url(package: dict) -> str:
        return f"pkg:cargo/{package['name']}@{package['version']}"

    def component(package: dict, kind: str) -> dict:
        entry = {"type": kind, "bom-ref": url(package), "name": package["name"], "version": package["version"]}
        entry["purl"] = url(package)
        if package.get("license"):
            entry["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        if checksum := checksums.get((package["name"], package["version"])):
            entry["hashes"] = [{"alg": "SHA-256", "content": checksum}]
        return entry

    components = [component(packages[name], "library") for name in wanted if name != root]
    components.sort(key=lambda entry: entry["bom-ref"])
    dependencies = [
        {"ref": url(packages[name]), "dependsOn": sorted({url(packages[dep]) for dep in deps})}
        for name, deps in wanted.items()
    ]
    dependencies.sort(key=lambda entry: entry["ref"])
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": component(packages[root], "application")},
        "components": components,
        "dependencies": dependencies,
    }
    text = json.dumps(document, sort_keys=True)
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, text)}"
    json.dump(document, sys.stdout, indent=1, sort_keys=True)
    print()


main()
