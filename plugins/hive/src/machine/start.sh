# Starts a hive's server, detached, unless it runs, and tells its process. $1: the hive's id, $2: where it
# listens, $3: the program; empty for the installed one.
set -eu
data="${XDG_DATA_HOME:-$HOME/.local/share}/skep"
program="${3:-$data/bin/skep}"
home="$data/hives/$1"
mkdir -p "$home"
cd "$home"
# Nobody may have noted it who has started it: then it would stand in the way of another one.
pid="$(cat pid 2> /dev/null || echo 0)"
case "$(tr "\0" " " 2> /dev/null < "/proc/$pid/cmdline" || ps -ww -o args= -p "$pid" 2> /dev/null)" in
    *"--data-dir $home/data"*) echo "$pid"; exit ;;
esac
if [ -f server.log ]; then mv server.log server.log.1; fi
nohup "$program" serve --listen "$2" --data-dir "$home/data" > server.log 2>&1 < /dev/null &
echo "$!" > pid
cat pid
