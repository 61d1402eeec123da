#!/usr/bin/env bash
# Gets the programs that peers.sh measures into /opt/peers, each named NAME-VERSION.
#
#   benches/peers-install.sh              restic from Debian unstable, borg from PyPI: a minute
#   benches/peers-install.sh --rustic     also rustic, built from crates.io: many minutes
#   benches/peers-install.sh --bupstash   also bupstash, likewise
#
# Nothing of it becomes part of the system: the package is unpacked aside, apt's own lists stay.
set -euo pipefail

RESTIC=0.19.1
BORG=1.4.5
into=/opt/peers
mkdir -p "$into"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install_restic() {
    [[ -x $into/restic-$RESTIC ]] && return
    mkdir -p "$work"/apt/{lists,cache/archives}/partial
    cat >"$work/apt/sources.list" <<'LIST'
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian unstable main
LIST
    local apt=(
        -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=-
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache="$work/apt/cache"
        -o APT::Sandbox::User=root
    )
    apt-get "${apt[@]}" update -qq
    (cd "$work" && apt-get "${apt[@]}" download -qq "restic=$RESTIC*")
    dpkg -x "$work"/restic_*.deb "$work/restic"
    install "$work/restic/usr/bin/restic" "$into/restic-$RESTIC"
}

install_borg() {
    [[ -x $into/borg-$BORG ]] && return
    if ! python3 -c 'import ensurepip' 2>/dev/null; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y python3-venv >/dev/null
    fi
    # A source package: it wants a compiler and these headers.
    local headers=(python3-dev pkg-config libssl-dev libacl1-dev liblz4-dev libzstd-dev libxxhash-dev)
    if ! dpkg -s "${headers[@]}" >/dev/null 2>&1; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y build-essential "${headers[@]}" >/dev/null
    fi
    python3 -m venv "$into/venv-borg"
    "$into/venv-borg/bin/pip" install --quiet "borgbackup==$BORG"
    ln -s venv-borg/bin/borg "$into/borg-$BORG"
}

install_crate() { # NAME CRATE
    cargo install --locked --quiet --root "$work/$1" "$2"
    local version
    version=$("$work/$1/bin/$1" --version 2>/dev/null || "$work/$1/bin/$1" version)
    install "$work/$1/bin/$1" "$into/$1-$(grep -o '[0-9][0-9.]*[0-9]' <<<"$version" | head -1)"
}

install_restic
install_borg
for option in "$@"; do
    case $option in
        --rustic) install_crate rustic rustic-rs ;;
        --bupstash) install_crate bupstash bupstash ;;
        *) echo "peers-install: unknown option $option" >&2; exit 2 ;;
    esac
done
find "$into" -maxdepth 1 -name '*-[0-9]*' -printf '%f\n' | sort
