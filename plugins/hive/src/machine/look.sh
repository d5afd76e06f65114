# Tells whether a hive's server runs, where it listens, and the end of its log. $1: the hive's id, $2: its process.
set -eu
home="${XDG_DATA_HOME:-$HOME/.local/share}/skep/hives/$1"
case "$(tr "\0" " " 2> /dev/null < "/proc/$2/cmdline" || ps -ww -o args= -p "$2" 2> /dev/null)" in
    *"--data-dir $home/data"*) echo "runs" ;;
    *) echo "gone" ;;
esac
grep -m 1 "listening on http://" "$home/server.log" 2> /dev/null || true
tail -n 20 "$home/server.log" 2> /dev/null || true
