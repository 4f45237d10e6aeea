#!/bin/sh
# Deploy hook of certbot: gives mm4d.service the renewed certificate.
#
#   certbot certonly --standalone -d mms.example.net --deploy-hook /usr/libexec/mm4d/certbot-hook
#
# certbot runs it as root after each renewal and sets RENEWED_LINEAGE to a directory with
# fullchain.pem and privkey.pem. They are copied to /etc/mm4d (or MM4D_DIR), and the
# service (mm4d.service, or MM4D_UNIT) is reloaded if it runs. Sessions continue. When
# mm4d does not accept the new files, the old ones stay, and the hook fails.

set -eu

lineage=${RENEWED_LINEAGE:?is not set: certbot sets it for a deploy hook}
dir=${MM4D_DIR:-/etc/mm4d}
unit=${MM4D_UNIT:-mm4d.service}

umask 077
restore() {
    for name in server.pem server.key; do
        if [ -e "$dir/$name.old" ]; then mv -f "$dir/$name.old" "$dir/$name"; fi
    done
}

for name in server.pem server.key; do
    rm -f "$dir/$name.old"
    if [ -e "$dir/$name" ]; then cp -p "$dir/$name" "$dir/$name.old"; fi
done
trap 'restore' EXIT
for pair in fullchain.pem:server.pem privkey.pem:server.key; do
    cat "$lineage/${pair%:*}" >"$dir/${pair#*:}.new"
    mv -f "$dir/${pair#*:}.new" "$dir/${pair#*:}"
done
if systemctl is-active --quiet "$unit"; then
    systemctl reload "$unit"
fi
trap - EXIT
rm -f "$dir/server.pem.old" "$dir/server.key.old"
