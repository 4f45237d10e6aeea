#!/usr/bin/env bash
# Writes what describes the options: man pages, completions of bash, zsh and fish,
# and the default configuration file, all from the programs' own --help.
#
#   scripts/package/generate.sh BIN DIR     BIN holds mm4d and mm4spool
#
# Leaves DIR/man, DIR/completions and DIR/mm4d.conf. Fails when a program prints no
# option that is known, so that a change of --help's layout is noticed.

source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

HERE=$ROOT/scripts/package

main() {
    (($# == 2)) || die "usage: scripts/package/generate.sh BIN DIR"
    BIN=$1
    local dir=$2
    VERSION=$("$BIN/mm4d" --version) || die "$BIN/mm4d does not run"
    VERSION=${VERSION#mm4d }
    mapfile -t COMMANDS < <("$BIN/mm4spool" --help | sed -n 's/^  \([a-z]\{3,\}\)  .*/\1/p')
    [[ $(options mm4d) == *tls-listen* && " ${COMMANDS[*]} " == *" list "* ]] ||
        die "cannot read the options in --help"
    mkdir -p "$dir/man" "$dir/completions"
    man_page mm4d.8 mm4d_options >"$dir/man/mm4d.8"
    man_page mm4spool.1 mm4spool_commands >"$dir/man/mm4spool.1"
    man_page mm4d-spool.5 true >"$dir/man/mm4d-spool.5"
    configuration >"$dir/mm4d.conf"
    bash_completion >"$dir/completions/mm4d.bash"
    zsh_mm4d >"$dir/completions/_mm4d"
    zsh_mm4spool >"$dir/completions/_mm4spool"
    fish_options mm4d '' >"$dir/completions/mm4d.fish"
    fish_mm4spool >"$dir/completions/mm4spool.fish"
}

# options PROGRAM [COMMAND]: what options.awk prints of its --help.
options() { "$BIN/$1" ${2:+"$2"} --help | awk -f "$HERE/options.awk"; }

# ---------------------------------------------------------------- man pages

# man_page FILE GENERATOR: the file with @VERSION@, and with the lines that GENERATOR
# prints in the place of @GENERATED@.
man_page() {
    "$2" >"$dir/generated"
    sed -e "s/@VERSION@/$VERSION/" -e "/^@GENERATED@$/{
        r $dir/generated
        d
    }" "$HERE/man/$1"
    rm "$dir/generated"
}

mm4d_options() { options mm4d | option_paragraphs; }

mm4spool_commands() {
    local command
    for command in "${COMMANDS[@]}"; do
        printf '.SS %s\n' "$command"
        # The usage, and the paragraphs between it and the options.
        "$BIN/mm4spool" "$command" --help | awk '
            /^Usage: / || /^ +mm4spool / { sub(/^(Usage:)? +/, "  "); print; next }
            /^Options:/ { exit }
            { print }' | roff_text
        options mm4spool "$command" | option_paragraphs
    done
}

# option_paragraphs: lines of options.awk to tagged paragraphs.
option_paragraphs() {
    local short long value text
    while IFS=$'\t' read -r short long value text; do
        printf '.TP\n'
        if [[ $short != - ]]; then printf '\\fB\\-%s\\fR, ' "$short"; fi
        printf '\\fB\\-\\-%s\\fR' "${long//-/\\-}"
        if [[ $value != - ]]; then printf ' \\fI%s\\fR' "$(roff_escape <<<"$value")"; fi
        printf '\n'
        if [[ $text != - ]]; then roff_escape <<<"$text"; fi
    done
}

roff_escape() { sed -e 's/\\/\\e/g' -e 's/-/\\-/g' -e "s/^[.']/\\\\\\&&/"; }
# roff_text: paragraphs, of which an indented one is shown as it is.
roff_text() {
    roff_escape | awk '
        function shown(on) { if (on != example) print on ? ".nf" : ".fi"; example = on }
        /^$/ { shown(0); print ".PP"; next }
        { shown(/^ /); print }
        END { shown(0) }' | uniq
}

# ---------------------------------------------------------------- configuration

configuration() {
    local short long value text given
    cat "$HERE/mm4d.conf.head"
    while IFS=$'\t' read -r short long value text; do
        case $long in
        # Those that are set in the head, and those that no file may have.
        listen | tls-listen | cert | key | accounts | spool) continue ;;
        help | version | config | check | add-account | generate | networks | max) continue ;;
        esac
        # A default after "default", otherwise the kind of the value.
        given=$value
        if [[ $text =~ default\ ([0-9a-z]+)(,|;|\.|$) ]]; then given=${BASH_REMATCH[1]}; fi
        if [[ $value == - ]]; then given=''; fi
        printf '\n# %s\n#%s\n' "$text" "$long${given:+ $given}"
    done < <(options mm4d)
}

# ---------------------------------------------------------------- completions

# kind VALUE: file, directory or other.
kind() {
    case $1 in
    *FILE*) say file ;;
    *DIR*) say directory ;;
    -) say none ;;
    *) say other ;;
    esac
}

bash_completion() {
    local command
    cat <<'END'
# bash completion for mm4d and mm4spool; generated from --help

_mm4d_options() {
    case $1 in
    mm4d)
END
    bash_case mm4d ''
    for command in "${COMMANDS[@]}"; do
        printf '    "mm4spool %s")\n' "$command"
        bash_case mm4spool "$command"
    done
    printf '    mm4spool) options="%s --help --version" ;;\n    esac\n}\n' "${COMMANDS[*]}"
    cat <<'END'

_mm4d() {
    local options='' files='' directories='' current=${COMP_WORDS[COMP_CWORD]}
    local previous=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]##*/}
    if [[ $program == mm4spool ]] && ((COMP_CWORD > 1)); then program+=" ${COMP_WORDS[1]}"; fi
    _mm4d_options "$program"
    if [[ " $directories " == *" $previous "* ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
    elif [[ " $files " == *" $previous "* || $current != -* && $program == "mm4spool "* ]]; then
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
    else
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    fi
}

complete -o filenames -F _mm4d mm4d mm4spool
END
}

# bash_case PROGRAM COMMAND: the words of one, as three assignments.
bash_case() {
    local short long value text words=() files=() directories=()
    while IFS=$'\t' read -r short long value text; do
        words+=("--$long")
        case $(kind "$value") in
        file) files+=("--$long") ;;
        directory) directories+=("--$long") ;;
        esac
        if [[ $short != - ]]; then
            case $(kind "$value") in
            file) files+=("-$short") ;;
            directory) directories+=("-$short") ;;
            esac
        fi
    done < <(options "$1" ${2:+"$2"})
    printf '        options="%s"\n        files="%s"\n        directories="%s"\n        ;;\n' \
        "${words[*]}" "${files[*]}" "${directories[*]}"
}

zsh_mm4d() {
    printf '#compdef mm4d\n# generated from --help\n\n_arguments -s'
    zsh_options mm4d ''
    printf '\n'
}

zsh_mm4spool() {
    local command
    printf '#compdef mm4spool\n# generated from --help\n\n'
    printf 'local state line\n_arguments -C "1:command:(%s)" "*::argument:->arguments"\n' "${COMMANDS[*]}"
    # shellcheck disable=SC2016 # it is zsh that expands it
    printf '[[ $state == arguments ]] || return\ncase $line[1] in\n'
    for command in "${COMMANDS[@]}"; do
        printf '%s)\n    _arguments -s' "$command"
        zsh_options mm4spool "$command"
        printf ' \\\n    "*:spool or ID:_files"\n    ;;\n'
    done
    printf 'esac\n'
}

# zsh_options PROGRAM COMMAND: a specification for each, each on a line of its own.
zsh_options() {
    local short long value text name
    while IFS=$'\t' read -r short long value text; do
        # What has a meaning of its own in a specification or in the quotes.
        text=$(sed -e "s/[]:\\\\[]/\\\\&/g" -e "s/'/'\\\\''/g" <<<"$text")
        value=${value//:/ }
        for name in "-$short" "--$long"; do
            [[ $name != -- ]] || continue
            printf " \\\\\n    '*%s[%s]" "$name" "$text"
            case $(kind "$value") in
            file) printf ':%s:_files' "$value" ;;
            directory) printf ':%s:_files -/' "$value" ;;
            other) printf ':%s: ' "$value" ;;
            esac
            printf "'"
        done
    done < <(options "$1" ${2:+"$2"})
}

fish_mm4spool() {
    local command
    printf 'complete -c mm4spool -n __fish_use_subcommand -f -a "%s"\n' "${COMMANDS[*]}"
    for command in "${COMMANDS[@]}"; do
        fish_options mm4spool "$command"
    done
}

# fish_options PROGRAM COMMAND
fish_options() {
    local short long value text
    while IFS=$'\t' read -r short long value text; do
        printf 'complete -c %s' "$1"
        if [[ -n $2 ]]; then printf ' -n "__fish_seen_subcommand_from %s"' "$2"; fi
        if [[ $short != - ]]; then printf ' -s %s' "$short"; fi
        printf ' -l %s' "$long"
        case $(kind "$value") in
        file) printf ' -r -F' ;;
        directory) printf ' -x -a "(__fish_complete_directories)"' ;;
        other) printf ' -x' ;;
        esac
        printf " -d '%s'\n" "$(sed -e "s/[\\\\']/\\\\&/g" <<<"$text")"
    done < <(options "$1" ${2:+"$2"})
}

main "$@"
