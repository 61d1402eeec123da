#!/bin/sh
# Backs this instance up now, with all that follows in the night. Takes the options of `mrs-backup run`.
exec /usr/local/bin/mrs-backup run %i --lock-wait 15m "$@"
