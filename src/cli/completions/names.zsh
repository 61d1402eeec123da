# Names that only this machine knows: instances of its configuration, snapshots its runs noted down.
_mrs_backup_values() {
    local -a names
    names=(${(f)"$(mrs-backup completions --values $1 2>/dev/null | sed 's/:/\\:/g; s/\t/:/')"})
    _describe -V "$1" names
}
_mrs_backup_instances() { _mrs_backup_values instances }
_mrs_backup_snapshots() { _mrs_backup_values snapshots; _default }

