# Tells of the machine: its system, its processor, and the version of the program that hives run.
set -eu
data="${XDG_DATA_HOME:-$HOME/.local/share}/skep"
uname -s
uname -m
if [ -x "$data/bin/skep" ]; then
    "$data/bin/skep" --version 2>&1 || echo "broken"
else
    echo "missing"
fi
