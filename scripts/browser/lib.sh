# shellcheck shell=bash
# What check-gallery.sh and check-serve.sh share: the browser and its client, a build of
# mm4spool, and spools of sample messages. Sourced after ../lib.sh.

# need_browser: sets CHROMIUM, CHROMEDRIVER, PYTHON and, if it can be had, AXE; ends the
# script, and says what is missing, where it cannot.
need_browser() {
    has chromium && has chromedriver && python_with_selenium \
        || { install_packages chromium chromium-driver python3-selenium fonts-noto-core \
            && python_with_selenium; } \
        || {
            warn "Chromium, chromedriver or selenium is missing: nothing was checked"
            exit "$SKIPPED_STATUS"
        }
    CHROMIUM=$(command -v chromium) CHROMEDRIVER=$(command -v chromedriver)
    export CHROMIUM CHROMEDRIVER
    if has npm && (cd "$TEMP" && npm pack --silent axe-core >/dev/null 2>&1) \
        && tar -xzf "$TEMP"/axe-core-*.tgz -C "$TEMP" package/axe.min.js; then
        export AXE=$TEMP/package/axe.min.js
    else
        warn "axe-core cannot be had from npm: accessibility is not checked"
    fi
}

# python_with_selenium: sets PYTHON to the first that has it: Debian's, unless another
# goes before it.
python_with_selenium() {
    local name
    for name in python3 /usr/bin/python3; do
        if has "$name" && "$name" -c 'import selenium' 2>/dev/null; then
            PYTHON=$name
            return 0
        fi
    done
    return 1
}

# build_mm4spool: sets MM4SPOOL_BIN, unless the caller has.
build_mm4spool() {
    [[ -z ${MM4SPOOL_BIN:-} ]] || return 0
    cargo build --quiet --release --bin mm4spool
    MM4SPOOL_BIN=${CARGO_TARGET_DIR:-target}/release/mm4spool
}

# sample_spool DIR MAIL...: a Maildir of mails that mm4d wrote, under their own ids.
sample_spool() {
    local dir=$1 mail id
    shift
    mkdir -p "$dir"/{tmp,new,cur}
    for mail in "$@"; do
        id=$(grep -aom1 '[0-9]\{8\}T[0-9.]*Z-[0-9-]*@[a-z0-9.]*' "$mail")
        cp "$mail" "$dir/new/$id.eml"
    done
}

# joined_spool DIR: adds a request, its answer and a report on it.
joined_spool() { "$PYTHON" "$ROOT/scripts/browser/mails.py" joined "$1"; }
