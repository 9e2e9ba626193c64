#!/bin/sh
# See to the system libraries that a Qt window and a virtual screen need on a bare Debian or Ubuntu.
# As root they are installed; otherwise the one command to type is printed.
set -eu

python=${1:-python3}
wanted="libegl1 libgl1 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1 libglib2.0-0 \
libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-render-util0 \
libxcb-xinerama0 libxcb-shape0 xvfb xauth"

command -v dpkg-query >/dev/null 2>&1 || exit 0

missing=
for package in $wanted; do
    # Ubuntu 24.04 and Debian 13 name some of these with the suffix t64.
    dpkg-query -W -f '${Status}\n' "$package" "${package}t64" 2>/dev/null \
        | grep -q '^install ok installed' || missing="$missing $package"
done
"$python" -c 'import ensurepip' >/dev/null 2>&1 || missing="$missing python3-venv"

[ -n "$missing" ] || exit 0

install="apt-get update && apt-get install --yes --no-install-recommends$missing"
if [ "$(id -u)" -eq 0 ]; then
    echo "Installing system libraries:$missing"
    apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --yes --no-install-recommends $missing \
        >/dev/null
else
    echo "These system libraries are missing. Type this, then run make again:" >&2
    echo "  sudo sh -c '$install'" >&2
    exit 1
fi
