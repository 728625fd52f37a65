#!/bin/sh
# Builds a Debian that has Python and make and nothing else that the lab needs, and prints the
# image's name: `labkit-test/bare-bookworm`, or of the release that is named.
#
# Needs root, debootstrap and an engine. An image that exists is not built again.
set -eu

suite=${1:-bookworm}
image=labkit-test/bare-$suite
if ! docker image inspect "$image" >/dev/null 2>&1; then
    root=$(mktemp -d)
    trap 'rm -rf "$root"' EXIT
    debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates,make "$suite" \
        "$root" >&2
    # Whoever this machine trusts (a company's proxy, say), its images must trust too.
    cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
    tar -C "$root" -c . | docker import \
        --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' --change 'CMD ["python3"]' \
        - "$image" >&2
fi
echo "$image"
