#!/usr/bin/env bash
# Gets the programs that peers.sh measures into $PEERS_DIR (/opt/peers), each named NAME-VERSION.
#
#   benches/peers-install.sh              restic from Debian unstable, borg from PyPI: a minute
#   benches/peers-install.sh --rustic     also rustic, built from crates.io: many minutes
#   benches/peers-install.sh --bupstash   also bupstash, likewise
#
# The programs do not become part of the system: restic's package is unpacked aside, apt's own lists
# stay. What borg and bupstash need to be built (a compiler, headers) is installed with apt.
set -euo pipefail

RESTIC=0.19.1
BORG=1.4.5
RUSTIC=0.11.4
BUPSTASH=0.12.0
into=${PEERS_DIR:-/opt/peers}
mkdir -p "$into"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

need_packages() {
    dpkg -s "$@" >/dev/null 2>&1 && return
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y "$@" >/dev/null
}

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
    # A source package: it wants a compiler and these headers.
    need_packages python3-venv build-essential python3-dev pkg-config libssl-dev libacl1-dev \
        liblz4-dev libzstd-dev libxxhash-dev
    python3 -m venv "$into/venv-borg"
    "$into/venv-borg/bin/pip" install --quiet "borgbackup==$BORG"
    ln -s venv-borg/bin/borg "$into/borg-$BORG"
}

install_crate() { # NAME CRATE VERSION
    [[ -x $into/$1-$3 ]] && return
    # Kept when it fails, so that the next one goes on from it.
    CARGO_TARGET_DIR="$into/build-$1" cargo install --locked --quiet --root "$work/$1" "$2@$3"
    install "$work/$1/bin/$1" "$into/$1-$3"
    rm -rf "$into/build-$1"
}

install_restic
install_borg
for option in "$@"; do
    case $option in
        --rustic) install_crate rustic rustic-rs "$RUSTIC" ;;
        --bupstash)
            need_packages build-essential pkg-config libsodium-dev
            install_crate bupstash bupstash "$BUPSTASH"
            ;;
        *) echo "peers-install: unknown option $option" >&2; exit 2 ;;
    esac
done
find "$into" -maxdepth 1 -name '*-[0-9]*' -printf '%f\n' | sort
