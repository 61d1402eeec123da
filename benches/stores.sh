#!/usr/bin/env bash
# How fast packs go elsewhere: to vsftpd over FTPS beside `lftp mirror -R -P4`, to `rclone serve s3` beside restic.
# Needs root, vsftpd, lftp, target/rclone/rclone (tests/run.sh makes it) and, if there, a restic in $RESTIC.
#
#     benches/stores.sh [MIB]        default: 256; the program is target/release/mrs-backup, or $MRS_BACKUP
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mib=${1:-256}
program=$(realpath "${MRS_BACKUP:-target/release/mrs-backup}")
rclone=$(realpath target/rclone/rclone)
restic=${RESTIC:-$(command -v restic || true)}
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
seconds() { local began; began=$(date +%s.%N); "$@" >"$work/out" 2>&1 || { cat "$work/out" >&2; return 1; }
    echo "$(date +%s.%N) - $began" | bc; }
wait_for() { for _ in $(seq 200); do (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.05; done; echo "nobody listens on $1" >&2; return 1; }
rate() { printf '%-34s %6.1f s  %7.1f MiB/s\n' "$1" "$2" "$(echo "$mib / $2" | bc -l)"; }

# Bytes that neither compress nor repeat.
mkdir "$work/src"
for part in $(seq 8); do
    openssl enc -aes-128-ctr -pass "pass:$part" -nosalt -pbkdf2 </dev/zero 2>/dev/null |
        head -c $((mib * 131072)) >"$work/src/$part" || true
done
(umask 077; printf "correct horse battery" >"$work/password")
export MRS_BACKUP_PASSWORD_FILE=$work/password MRS_BACKUP_STATE_DIR=$work/state
ours() { MRS_BACKUP_REPOSITORY=$1 "$program" "${@:2}"; }

# --- FTPS
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -addext basicConstraints=critical,CA:FALSE -keyout "$work/key.pem" -out "$work/cert.pem" 2>/dev/null
pin=$(openssl x509 -in "$work/cert.pem" -noout -fingerprint -sha256 | cut -d= -f2 | tr -d :)
port=$(free_port)
chmod 755 "$work"; mkdir -p "$work/home/files" "$work/empty"; chown ftp "$work/home/files"
cat >"$work/vsftpd.conf" <<END
listen=YES
listen_address=127.0.0.1
listen_port=$port
background=NO
seccomp_sandbox=NO
anonymous_enable=YES
local_enable=NO
write_enable=YES
anon_upload_enable=YES
anon_mkdir_write_enable=YES
anon_other_write_enable=YES
anon_world_readable_only=NO
anon_root=$work/home
no_anon_password=YES
secure_chroot_dir=$work/empty
ssl_enable=YES
allow_anon_ssl=YES
force_anon_data_ssl=YES
force_anon_logins_ssl=YES
ssl_ciphers=HIGH
require_ssl_reuse=YES
rsa_cert_file=$work/cert.pem
rsa_private_key_file=$work/key.pem
END
/usr/sbin/vsftpd "$work/vsftpd.conf" & pids+=($!)
wait_for "$port"
location="ftpes://anonymous:x@localhost:$port/files/ours?pin=sha256:$pin"
ours "$work/local" init --kdf-memory 8 >/dev/null
ours "$work/local" backup --quiet "$work/src"
ours "$location" init --kdf-memory 8 >/dev/null
ours "$work/local2" init --kdf-memory 8 >/dev/null
rate 'backup into a directory' "$(seconds ours "$work/local2" backup "$work/src")"
rate 'backup to vsftpd (FTPS)' "$(seconds ours "$location" backup "$work/src")"
rate 'lftp mirror -R -P4 of the packs' "$(seconds lftp -c "set ftp:ssl-force true; set ftp:ssl-allow-anonymous true; set ftp:ssl-protect-data true;
    set ssl:verify-certificate no; open -p $port localhost; mirror -R -P4 $work/local/packs files/lftp")"
rm -rf "$work/home/files/ours" "$work/home/files/lftp"

# --- S3
port=$(free_port)
mkdir -p "$work/s3/ours" "$work/s3/theirs"
RCLONE_CONFIG=$work/none "$rclone" serve s3 --auth-key key,secret --addr "127.0.0.1:$port" "$work/s3" >/dev/null 2>&1 & pids+=($!)
wait_for "$port"
export AWS_ACCESS_KEY_ID=key AWS_SECRET_ACCESS_KEY=secret
location="s3:http://127.0.0.1:$port/ours"
ours "$location" init --kdf-memory 8 >/dev/null
rate 'backup to rclone serve s3' "$(seconds ours "$location" backup "$work/src")"
if [[ -n $restic ]]; then
    export RESTIC_PASSWORD=x RESTIC_REPOSITORY=$location
    RESTIC_REPOSITORY=s3:http://127.0.0.1:$port/theirs "$restic" --quiet --no-cache init
    rate "$("$restic" version | cut -d' ' -f1,2) to the same" "$(
        RESTIC_REPOSITORY=s3:http://127.0.0.1:$port/theirs seconds "$restic" --no-cache backup "$work/src")"
fi
