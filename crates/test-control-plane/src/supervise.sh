# Runs a server until its owner stops it or ends. Arguments: the owner's folder, the program and its arguments.
# Standard input is a pipe from the owner. A line kills the server. The end of the pipe means that the owner has ended:
# it kills the server and removes the folder.
folder=$1
shift

# Commands in the background read from /dev/null by default, so the pipe gets its own file descriptor.
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!

# The messages of the shell about killed processes must not get into the log of the server.
exec >/dev/null 2>&1

(
  read -r _ <&3
  owner_gone=$?
  # The exit of the server wakes the shell below, which must not kill this one before it exits.
  trap '' TERM
  kill -KILL "$server"
  exit "$owner_gone"
) &
reader=$!

wait "$server"
kill -TERM "$reader"
wait "$reader"
if [ $? -eq 1 ]; then
  # The shell of the other server may do the same. The last one runs when no server is left that could write here.
  rm -rf "$folder"
fi
