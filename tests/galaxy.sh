#!/usr/bin/env bash
# Imports the archive that `make dist` makes, as Galaxy and Automation Hub do with each upload. The
# importer ends with 0 on warnings, and on some errors; here each is a failure.
set -euo pipefail
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

# Not below this checkout, whose .gitignore would hide the files from ansible-lint.
top=$(mktemp --directory)
trap 'rm -rf "$top"' EXIT
ansible-galaxy collection build --output-path "$top" >/dev/null

cd "$top"
unset ANSIBLE_CONFIG ANSIBLE_COLLECTIONS_PATH # which Galaxy does not have
export GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP=$top/tmp GALAXY_IMPORTER_TMP_ROOT_DIR=$top
export GALAXY_IMPORTER_CHECK_REQUIRED_TAGS=true # as Automation Hub does
if ! python -m galaxy_importer.main ./*.tar.gz >log || grep --quiet '^[A-Z]*: ' log; then
  grep --invert-match '^Loading ' log
  echo "Galaxy would refuse this archive, or warn of it." >&2
  exit 1
fi
echo "$(head --lines 1 log): no warning"
