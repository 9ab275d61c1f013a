#!/bin/sh
# Install emr-fl from this folder into a fresh virtual environment, without any network.
#
#   sh install.sh TARGET [DIGEST]
#
# TARGET   the folder to make, for example /opt/emr-fl
# DIGEST   the SHA-256 of SHA256SUMS that you were told by another way than the bundle itself
# PYTHON   (environment) the interpreter, if it is not python3
#
# Exit status: 0 installed, 2 wrong usage or machine, 3 the bundle is not what it says.
set -eu

python=${PYTHON:-python3}
target=${1:-}
digest=${2:-}
bundle=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

refuse() { # STATUS MESSAGE
    printf 'install.sh: %s\n' "$2" >&2
    exit "$1"
}

[ -n "$target" ] || refuse 2 'which folder? sh install.sh TARGET [DIGEST]'
case $target in
/*) ;;
*) target=$PWD/$target ;;
esac
[ ! -e "$target" ] || refuse 2 "$target: there is something already; delete it or choose another"

cd "$bundle"
[ -f SHA256SUMS ] || refuse 3 'SHA256SUMS is missing'
if [ -n "$digest" ]; then
    printf '%s  SHA256SUMS\n' "$digest" | sha256sum --check --status --strict ||
        refuse 3 'SHA256SUMS does not have the digest that you gave: do not use this bundle'
fi
sha256sum --check --quiet --strict SHA256SUMS ||
    refuse 3 'files are missing or changed: copy the bundle again'
listed=$(sed 's/^[0-9a-f]*  //' SHA256SUMS | LC_ALL=C sort)
found=$(find . ! -type d ! -path ./SHA256SUMS | sed 's|^\./||' | LC_ALL=C sort)
[ "$listed" = "$found" ] || refuse 3 'there are files that SHA256SUMS does not list: copy the bundle again'

wanted=$(cat PLATFORM)
here=$("$python" -I -c 'import platform, sys
print(f"cp{sys.version_info.major}{sys.version_info.minor} {sys.platform} {platform.machine()}")') ||
    refuse 2 "$python does not run: set PYTHON=/path/to/python"
[ "$here" = "$wanted" ] || refuse 2 "the wheels are for $wanted, this is $here: set PYTHON, or get the other bundle"

# A half-made environment is removed; pip reads no configuration of this machine.
trap 'rm -rf -- "$target"' EXIT
"$python" -I -m venv "$target" || refuse 2 "no virtual environment: on Debian and Ubuntu install python3-venv"
"$target/bin/python" -I -m pip --isolated --disable-pip-version-check --no-cache-dir --quiet \
    install --no-index --find-links wheels --only-binary :all: --require-hashes -r requirements.lock ||
    refuse 3 'pip refused the wheels'
"$target/bin/python" -I -m pip --isolated --disable-pip-version-check check >/dev/null ||
    refuse 3 'packages do not fit together'
"$target/bin/emr-fl" version
trap - EXIT
printf 'installed: %s/bin/emr-fl\n' "$target"
