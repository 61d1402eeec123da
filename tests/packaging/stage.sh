#!/usr/bin/env bash
# Puts what a package has besides the program into a directory: units, manual pages, completions, an example, the list
# of what is in it. All of it is made by the program itself or stands in the repository.
#
#   tests/packaging/stage.sh PROGRAM DIRECTORY
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=$(realpath "$1") stage=$2
rm -rf "$stage"
mkdir -p "$stage"/{units,man,completions}
for unit in systemd/*.service systemd/*.timer; do
    sed 's#/usr/local/bin/mrs-backup#/usr/bin/mrs-backup#' "$unit" >"$stage/units/${unit##*/}"
done
# Nothing of this machine's configuration is wanted.
run() { env -i PATH="$PATH" MRS_BACKUP_CONFIG=/nonexistent "$program" "$@"; }
run --quiet man "$stage/man"
gzip -9n "$stage"/man/*.1
run completions bash >"$stage/completions/mrs-backup.bash"
run completions zsh >"$stage/completions/_mrs-backup"
run completions fish >"$stage/completions/mrs-backup.fish"
cp systemd/example.toml "$stage/config.toml"
run --quiet --config "$stage/config.toml" config validate
gzip -9nc CHANGELOG.md >"$stage/changelog.gz"
python3 tests/packaging/sbom.py >"$stage/sbom.cdx.json"
cp "$program" "$stage/mrs-backup"
