# Runs a server for as long as its owner wants it. Arguments: the owner's folder, the program and its arguments.
# Standard input is a pipe whose other end only the owner holds: a line on it asks for the server's end; the pipe's
# own end says that the owner is gone, whatever became of it, and then the folder goes as well.
folder=$1
shift

# A command in the background reads from /dev/null unless told otherwise, so the pipe gets a number of its own.
exec 3<&0 </dev/null

"$@" 3<&- &
server=$!

# What shells say of those they kill is not for the server's log.
exec >/dev/null 2>&1

(
  read -r _ <&3
  owner_gone=$?
  # The server's end wakes the shell below, which must not take this one for still reading.
  trap '' TERM
  kill -KILL "$server"
  exit "$owner_gone"
) &
reader=$!

wait "$server"
kill -TERM "$reader"
wait "$reader"
if [ $? -eq 1 ]; then
  # The other server's shell may be doing the same. Whichever is last finds no server alive that could write here.
  rm -rf "$folder"
fi
