#!/bin/sh
# Slipway: runs the Slurm command of this name as the owner of the session. The token is read anew at each call, because it
# is renewed while the session runs, and is in the environment of that one command alone.
name=${0##*/}
here=${0%/*}

fail() {
  echo "$name: $*" >&2
  exit 1
}

# The token, when it expires (seconds since 1970), the controller's version, and, without a token, why there is none.
{ read -r token; read -r expires; read -r controller; read -r why; } 2>/dev/null <"$here/../live/slurm" ||
  fail "this session has no Slurm token. Pause and resume it to get one."
[ -n "$token" ] || fail "${why:-this session has no Slurm token at the moment.}"
[ "$(date +%s)" -lt "$expires" ] || fail "the session's Slurm token has expired and was not renewed in time. Its page says why."

# A job gets the environment that it was submitted with, and needs neither these commands, which its node does not have, nor
# what opens the session's IDE.
without_us() {
  IFS=: others=
  for folder in $PATH; do
    [ "$folder" -ef "$here" ] || others=$others:$folder
  done
  unset IFS
  PATH=${others#:}
  unset JUPYTER_TOKEN HASHED_PASSWORD
}
without_us

# The image's own client, or, where that has none or one that takes no tokens, the one that an admin has put beside it.
takes_tokens() {
  folder=$(readlink -f "$1") && folder=${folder%/*}/..
  for plugin in "$folder"/lib*/slurm*/auth_jwt.so "$folder"/lib/*/slurm*/auth_jwt.so; do
    [ ! -e "$plugin" ] || return 0
  done
  return 1
}
supply=$here/../supply
client=$(command -v "$name")
if [ -z "$client" ] || ! takes_tokens "$client"; then
  if [ -x "$supply/bin/$name" ]; then
    client=$supply/bin/$name
  elif [ -n "$client" ]; then
    echo "$name: the Slurm client of this session's image seems to lack the plugin auth/jwt (Debian's package slurm-wlm-jwt-plugin)." >&2
  elif [ -e "$supply/problem" ]; then
    fail "$(cat "$supply/problem")"
  else
    fail "there is no Slurm client in this session's image. Choose an image that has one, or ask an admin to name a client image for the Slurm cluster."
  fi
fi

run() {
  if [ "$client" = "$supply/bin/$name" ]; then
    # Its own loader and libraries, which no other program gets to see; see supply.sh for the number 9.
    exec "$supply"/lib/ld-linux* --library-path "$supply/lib" "$client" "$@" 9<"$supply/plugins"
  fi
  exec "$client" "$@"
}

# 24.05 and the like are compared as numbers: a controller understands clients that are older than itself, not newer ones.
warn_of_skew() {
  # The commands want a configuration even for this, and would fetch the controller's.
  version=$(SLURM_CONF=$here/../live/version.conf run --version 2>/dev/null)
  version=${version##* }
  case $version in [0-9][0-9].[0-9][0-9].*) ;; *) return ;; esac
  ours=$(release "$version") theirs=$(release "$controller")
  if [ "$ours" -gt "$theirs" ]; then
    echo "$name: this client is Slurm $version, newer than the controller ($controller), which may not understand it." >&2
  elif [ $((theirs - ours)) -gt 200 ]; then
    echo "$name: this client is Slurm $version, which the controller ($controller) may be too new for." >&2
  fi
}
release() {
  digits=$(echo "$1" | cut -c 1,2,4,5)
  echo $((1$digits))  # no number that begins with a zero, which would be octal
}

# sbatch hands all of SLURM_* on to the job, where the token would keep srun from working. Of a script that is the user's own
# to mend, or the cluster's (docs/slurm.md).
if [ "$name" = sbatch ]; then
  next=
  for argument; do
    shift
    case $next$argument in
      --wrap) next=wrap: ;;
      --wrap=*) argument="--wrap=unset SLURM_JWT; ${argument#--wrap=}" ;;
      wrap:*) argument="unset SLURM_JWT; $argument" next= ;;
    esac
    set -- "$@" "$argument"
  done
fi

unset SLURM_CONF  # of the image: the session's cluster is the one that SLURM_CONF_SERVER names
case $controller in [0-9][0-9].[0-9][0-9].*) warn_of_skew ;; esac
export SLURM_JWT="$token"
run "$@"
