#!/bin/sh
# Without arguments: which snapshots there are. With them: the arguments of `mrs-backup restore`
# (a snapshot, like `latest` or the digits of its id, and a directory to restore into).
if [ "$#" -eq 0 ]; then
    exec /usr/local/bin/mrs-backup snapshots --instance %i
fi
exec /usr/local/bin/mrs-backup restore --instance %i "$@"
