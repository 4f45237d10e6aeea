#!/usr/bin/env bash
# Makes a CA and, signed by it, a server certificate for this machine alone:
# localhost, 127.0.0.1 and ::1.
#
#   scripts/certs.sh [--force] [DIR]      DIR: certs/ unless given
#
# Leaves DIR/ca.pem, which a client trusts, and DIR/server.pem (the chain, the
# server's own certificate first) and DIR/server.key (mode 0600) for the server.
# The CA's key is deleted: nothing else can ever be signed with it. Does nothing
# when DIR holds a pair that is good for another month, unless --force. Needs
# openssl, 1.1 or later, and installs it as root on Debian.

source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

DAYS=825 # the longest that Apple's clients accept
MONTH=$((30 * 24 * 60 * 60))

main() {
    local force='' dir=$ROOT/certs
    while (($#)); do
        case $1 in
        --force) force=yes ;;
        -*) die "usage: scripts/certs.sh [--force] [DIR]" ;;
        *) dir=$1 ;;
        esac
        shift
    done
    ensure openssl || die "openssl is needed to make certificates"
    if [[ -z $force ]] && good "$dir"; then
        say "$dir: the certificate is good until $(end_of "$dir/server.pem")"
        return
    fi
    make_temp
    make_ca "$TEMP"
    make_server "$TEMP"
    good "$TEMP" || die "openssl made a certificate that it does not accept"
    publish "$TEMP" "$dir"
    say "$dir: made ca.pem, server.pem and server.key, good until $(end_of "$dir/server.pem")"
}

# good DIR: the pair fits together, is signed by the CA and not about to expire.
good() {
    local dir=$1
    [[ -s $dir/ca.pem && -s $dir/server.pem && -s $dir/server.key ]] || return
    openssl x509 -in "$dir/server.pem" -noout -checkend "$MONTH" >/dev/null 2>&1 || return
    openssl verify -purpose sslserver -verify_hostname localhost -CAfile "$dir/ca.pem" \
        "$dir/server.pem" >/dev/null 2>&1 || return
    [[ $(openssl x509 -in "$dir/server.pem" -noout -pubkey) == \
        $(openssl pkey -in "$dir/server.key" -pubout 2>/dev/null) ]]
}

make_ca() {
    configuration "$1/ca.conf" "mm4d local CA" <<'END'
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
END
    make_key "$1/ca.key"
    quietly openssl req -new -x509 -sha256 -days "$DAYS" -config "$1/ca.conf" \
        -key "$1/ca.key" -out "$1/ca.pem"
}

make_server() {
    configuration "$1/server.conf" localhost <<'END'
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = DNS:localhost, IP:127.0.0.1, IP:::1
END
    make_key "$1/server.key"
    quietly openssl req -new -sha256 -config "$1/server.conf" \
        -key "$1/server.key" -out "$1/server.csr"
    quietly openssl x509 -req -sha256 -days "$DAYS" -in "$1/server.csr" \
        -CA "$1/ca.pem" -CAkey "$1/ca.key" -set_serial "0x$(openssl rand -hex 8)" \
        -extfile "$1/server.conf" -extensions extensions -out "$1/leaf.pem"
    cat "$1/leaf.pem" "$1/ca.pem" >"$1/server.pem"
}

# configuration FILE NAME: what openssl req and x509 read, with the extensions
# on standard input; nothing of the system's openssl.cnf takes part.
configuration() {
    {
        printf '%s\n' '[req]' 'prompt = no' 'distinguished_name = name' \
            'x509_extensions = extensions' '[name]' "CN = $2" '[extensions]'
        cat
    } >"$1"
}

make_key() {
    (umask 077 && quietly openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 \
        -pkeyopt ec_param_enc:named_curve -out "$1")
}

# publish FROM DIR: each file whole or not at all; the key is in place first.
publish() {
    local from=$1 dir=$2 file draft
    mkdir -p "$dir"
    for file in server.key server.pem ca.pem; do
        draft=$(mktemp "$dir/.$file.XXXXXX")
        cat "$from/$file" >"$draft"
        [[ $file == server.key ]] || chmod 0644 "$draft"
        mv "$draft" "$dir/$file"
    done
}

end_of() { openssl x509 -in "$1" -noout -enddate | cut -d = -f 2; }

quietly() {
    local said
    said=$("$@" 2>&1) || die "$1 $2 failed:" "$said"
}

main "$@"
