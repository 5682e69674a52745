#!/usr/bin/env bash
# Runs ansible-test's sanity tests and antsibull-docs, and ends by saying which of the tests ran and
# which could not: nobody may take for clean what did not run.
set -euo pipefail
cd "$(dirname "$0")/.."

# A pyenv shim answers only where its version was chosen; the interpreters behind it always do.
for bin in "${PYENV_ROOT:-$HOME/.pyenv}"/versions/*/bin; do PATH=$bin:$PATH; done
PATH=$PWD/.venv/bin:$PATH

top=$PWD/.ansible/sanity
copy=$top/ansible_collections/hardened/docker
log=$top/log
own=$(python -c 'import sys; print("%d.%d" % sys.version_info[:2])')

# What is judged is what is shipped, below a real directory of the name that ansible-test insists
# on, in a repository of its own.
rm -rf "$top/ansible_collections" "$top"/*.tar.gz
mkdir -p "$copy"
ansible-galaxy collection build --output-path "$top"
tar --extract --file "$top"/*.tar.gz --directory "$copy"
git init --quiet "$copy"

# Its environments begin with pip's installer from a server of Ansible's. Python brings pip along,
# and all else comes from the package index that this machine uses.
pip=$(python -c "
from types import SimpleNamespace
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(SimpleNamespace(version='$own'))['pip'])")
mkdir -p "$top/.ansible/test/cache" "$top/.config"
echo 'import ensurepip; ensurepip.bootstrap()' >"$top/.ansible/test/cache/get_pip_${pip//./_}.py"
[ ! -d "$HOME/.config/pip" ] || ln -sfn "$HOME/.config/pip" "$top/.config/pip"

export HOME=$top

cd "$copy"
sanity() { ansible-test sanity --local --color no "$@" </dev/null 2>&1 | tee -a "$log" || failed=1; }
: >"$log"
failed=0
not_run=()

sanity --python "$own" --skip-test pslint
not_run+=("pslint: the collection holds no PowerShell")
for python in $(python -c 'from ansible_test._util.target.common import constants
print(*constants.REMOTE_ONLY_PYTHON_VERSIONS, *constants.CONTROLLER_PYTHON_VERSIONS)'); do
  if [ "$python" = "$own" ]; then
    continue
  elif "python$python" -c '' 2>/dev/null; then
    sanity --python "$python" --test compile --test import
  else
    not_run+=("compile and import on Python $python: not installed here")
  fi
done
for test in $(ansible-test sanity --list-tests --skip-test pslint 2>/dev/null); do
  grep -q "^Running sanity test \"$test\"" "$log" || {
    not_run+=("$test: see above")
    failed=1
  }
done

echo
echo "antsibull-docs lint-collection-docs --plugin-docs"
antsibull-docs lint-collection-docs --plugin-docs . || failed=1

echo
echo "Sanity tests of ansible-core that ran here, $([ $failed = 0 ] && echo all clean || echo not all clean):"
sed -nE 's/^Running sanity test "([^"]+)"( on Python (.*))?$/\1 \3/p' "$log" |
  awk '{ ran[$1] = ran[$1] " " $2 } END { for (test in ran) print "  " test ran[test] }' | sort
echo "And that did not:"
printf '  %s\n' "${not_run[@]}"
exit $failed
