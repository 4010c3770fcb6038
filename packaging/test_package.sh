#!/usr/bin/env bash
# Proves a built .deb: static checks (lintian, desktop entry, AppStream, manual pages), then in fresh chroots of Debian
# and Ubuntu: apt installs it, an ordinary user without a network uses it, toolchain and demo engine come from a folder
# of wheels, an older version is upgraded, removed, installed again, purged; the tarball runs from a user's folder.
#   bash packaging/test_package.sh [--suite bookworm --suite noble ...] [--flow bookworm ...] [--wheels DIR]
#        [--previous DEB] [--tarball FILE] [--bases DIR] [--results packaging/RESULTS.md] DEB
# Root only. Chroots are made by debootstrap from the mirrors in this machine's apt sources, or from those that
# WORKBENCH_DEBIAN_MIRROR and WORKBENCH_UBUNTU_MIRROR name; --bases keeps them for the next run. All options: --help.
# One line per check: ok, FAILED or not run. Exit code 1 when one failed.
set -euo pipefail
# shellcheck source=packaging/common.sh
. "$(dirname "$0")/common.sh"

if ! python="$(first_python 'assert sys.version_info >= (3, 10)' python3.12 python3.11 python3)"; then
    echo "The package's test needs a Python from 3.10 on." >&2
    echo "To do: apt-get install python3, or name one: WORKBENCH_PYTHON=/path/to/python3.12" >&2
    exit 2
fi
export PYTHONPATH="$root/packaging" PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
exec "$python" -m package_test "$@"
