# Runs one server and ends it when standard input closes, which happens when the program at its other end is gone, for
# whatever reason. The server gets TERM first and KILL later.
# $1 tenths of a second between TERM and KILL; $2 and $3 folders to remove after the server, may be empty;
# $4 the server's standard input; $5 its LD_LIBRARY_PATH, empty to leave it alone; then its command.
# Its process id is written to descriptor 3.
grace=$1 folder=$2 outside=$3 input=$4 libraries=$5
shift 5
exec 4<&0 </dev/null
(
	[ -z "$libraries" ] || export LD_LIBRARY_PATH="$libraries"
	exec "$@"
) <"$input" 3>&- 4<&- &
server=$!
# The watch is a separate process, so that it outlives a killed supervisor and still ends the server.
(
	while read -r _; do :; done
	# Again and again: a server that is just starting may lose it.
	while [ "$grace" -gt 0 ] && kill -TERM "$server" 2>/dev/null; do
		sleep 0.1
		grace=$((grace - 1))
	done
	kill -KILL "$server" 2>/dev/null
) <&4 3>&- &
watch=$!
exec 4<&-
trap '' PIPE # nobody may be left to read the process id
echo "$server" >&3
exec 3>&-
wait "$server"
status=$?
kill "$watch" 2>/dev/null
[ -z "$folder" ] || rm -rf "$folder"
[ -z "$outside" ] || rm -rf "$outside"
exit "$status"
