# Sends a hive's server a signal, if it runs. $1: the hive's id, $2: its process, $3: the signal.
set -eu
home="${XDG_DATA_HOME:-$HOME/.local/share}/skep/hives/$1"
case "$(tr "\0" " " 2> /dev/null < "/proc/$2/cmdline" || ps -ww -o args= -p "$2" 2> /dev/null)" in
    *"--data-dir $home/data"*) kill -s "$3" "$2" ;;
esac
