# Names that only this machine knows: instances of its configuration, snapshots its runs noted down.
_mrs_backup_names() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} word command='' kind='' value='' line
    local -a given=()
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -n $value ]]; then
            given+=("$value" "$word")
            value=''
        elif [[ $word == -i || $word == --instance || $word == -c || $word == --config ]]; then
            value=$word
        elif [[ -z $command && $word != -* ]]; then
            command=$word
        fi
    done
    _mrs__backup "$@"
    case $value in
        -i | --instance)
            kind=instances
            COMPREPLY=()
            ;;
        '')
            case $prev:$cur:$command in
                -*:*:* | *:-*:*) [[ $prev == --yes || $prev == --dry-run || $prev == --json ]] || return 0 ;;
            esac
            case $command in
                @SNAPSHOTS@) kind=snapshots ;;
                @INSTANCES@) kind=instances ;;
            esac
            ;;
    esac
    [[ -n $kind ]] || return 0
    while IFS=$'\t' read -r word line; do
        [[ $word == "$cur"* ]] && COMPREPLY+=("$word")
    done < <("${COMP_WORDS[0]}" "${given[@]}" completions --values "$kind" 2>/dev/null)
    return 0
}
