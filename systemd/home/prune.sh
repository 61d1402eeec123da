#!/bin/sh
# Drops snapshots by the retention policy and frees what only they needed, now.
exec /usr/local/bin/mrs-backup run %i --only forget,prune --lock-wait 15m "$@"
