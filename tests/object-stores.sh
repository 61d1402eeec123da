#!/usr/bin/env bash
# The contract of stores on what is not in the daily tests: Azure Blob Storage (Microsoft's Azurite), and an S3
# with classes of storage (moto). Needs node, npm and python3; installs both into target/object-stores.
#
#     tests/object-stores.sh         the program is target/release/mrs-backup, or $MRS_BACKUP
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
program=$(realpath "${MRS_BACKUP:-target/release/mrs-backup}")
place=$PWD/target/object-stores
work=$(mktemp -d)
pids=()
finish() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap finish EXIT

if [[ ! -e $place/complete ]]; then
    mkdir -p "$place"
    (cd "$place" && npm install --silent azurite@3)
    python3 -m venv "$place/venv"
    "$place/venv/bin/pip" install --quiet --disable-pip-version-check \
        'azure-storage-blob==12.*' 'moto[s3,server]==5.*' 'boto3==1.*'
    touch "$place/complete"
fi
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
wait_for() {
    for _ in $(seq 300); do (: <"/dev/tcp/127.0.0.1/$1") 2>/dev/null && return; sleep 0.1; done
    echo "nobody listens on $1" >&2
    cat "$work"/*.log >&2
    return 1
}
export MRS_BACKUP_PASSWORD=secret MRS_BACKUP_STATE_DIR=$work/state
mkdir "$work/data" && head -c 3000000 /dev/urandom >"$work/data/file"
lives() { # LOCATION: the contract, and a repository that comes back
    "$program" store test "$1"
    "$program" --repo "$1" --quiet init
    "$program" --repo "$1" --quiet backup "$work/data"
    "$program" --repo "$1" --quiet restore latest "$work/out" --yes
    cmp "$work/data/file" "$(find "$work/out" -name file)"
    rm -r "$work/out"
}

echo "==> Azure: Azurite"
port=$(free_port)
"$place/node_modules/.bin/azurite-blob" --blobPort "$port" --location "$work/azurite" --silent --skipApiVersionCheck \
    >"$work/azurite.log" 2>&1 &
pids+=($!)
wait_for "$port"
# The account and key every Azurite has.
export AZURE_STORAGE_ACCOUNT_NAME=devstoreaccount1
export AZURE_STORAGE_ACCOUNT_KEY=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==
endpoint=http://127.0.0.1:$port/$AZURE_STORAGE_ACCOUNT_NAME
"$place/venv/bin/python" - "$endpoint" <<'END'
import os, sys
from azure.storage.blob import BlobServiceClient
BlobServiceClient(sys.argv[1], credential=os.environ["AZURE_STORAGE_ACCOUNT_KEY"]).create_container("backup")
END
lives "azure://backup/repository?endpoint=$endpoint"

echo "==> S3 with classes of storage: moto"
port=$(free_port)
"$place/venv/bin/moto_server" -H 127.0.0.1 -p "$port" >"$work/moto.log" 2>&1 &
pids+=($!)
wait_for "$port"
export AWS_ACCESS_KEY_ID=backup AWS_SECRET_ACCESS_KEY=secret
s3() { "$place/venv/bin/python" -c "import boto3, sys
s3 = boto3.client('s3', endpoint_url='http://127.0.0.1:$port', region_name='us-east-1')
$1"; }
s3 "s3.create_bucket(Bucket='backup')"
lives "s3:127.0.0.1:$port/backup/repository?storage-class=STANDARD_IA"
s3 "
found = {o['Key'].split('/')[1]: o['StorageClass'] for o in s3.list_objects_v2(Bucket='backup')['Contents']}
print(found)
assert {kind for kind, of in found.items() if of != 'STANDARD'} == {'packs'}, found"
echo "all as it should be"
