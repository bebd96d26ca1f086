#!/usr/bin/env bash
# Stages functions and calls the func command on them: func builds the root package of a module, and these are folders
# of one. It needs Go and func, 1.23 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat >&2 <<'END'
Usage: knative/func.sh NAME build|run|invoke|deploy [flags of func]
       knative/func.sh all build|deploy [flags of func]

NAME is the name under which a function is deployed: knative/func.sh list prints them all.
  knative/func.sh all deploy --registry registry.example.com/me
  knative/func.sh reserve-stock build
  MYSQL_DSN=... knative/func.sh orders-api run --env MYSQL_DSN="$MYSQL_DSN"
END
  exit 2
}

fail() {
  printf 'func.sh: %s\n' "$1" >&2
  exit 1
}

need_func() {
  command -v func >/dev/null ||
    fail 'the func command is not on the PATH: install func 1.23 or newer, see https://knative.dev/docs/functions/install-func/'
  local says
  says=$(func version 2>&1 | head -n 1)
  [[ $says =~ ([0-9]+)\.([0-9]+) ]] ||
    fail "func does not tell its version (it says \"$says\"): install func 1.23 or newer"
  local major=${BASH_REMATCH[1]} minor=${BASH_REMATCH[2]}
  if ((major < 1 || (major == 1 && minor < 23))); then
    fail "func is $major.$minor: install 1.23 or newer, older ones build another layout"
  fi
}

stage() { go run ./knative/stage "$@"; }

# given NAME FLAGS...: tells whether the flags set a variable.
given() {
  local name=$1
  shift
  [[ " $* " =~ [[:space:]](--env[=[:space:]]|-e[=[:space:]]?)"$name"= ]]
}

# one NAME VERB [flags]
one() {
  local name=$1 verb=$2
  shift 2
  local dir=.stage/$name
  case $verb in
  # Of an image that is there func would not see that the staged sources are new.
  deploy) set -- --build "$@" ;;
  run)
    local needs variable missing=()
    needs=$(stage -needs "$name")
    for variable in $needs; do
      if given "$variable" "$@"; then continue; fi
      if [ -n "${!variable:-}" ]; then set -- "$@" --env "$variable=${!variable}"; else missing+=("$variable"); fi
    done
    [ ${#missing[@]} -eq 0 ] ||
      fail "$name needs ${missing[*]}: set it in the environment or by --env NAME=VALUE; on a cluster it comes from a Secret"
    ;;
  esac
  stage "$name" "$dir"
  # func writes into the func.yaml that it is given what it has done. That one goes with the next staging.
  GOWORK=off GOFLAGS=-mod=mod func "$verb" --path "$dir" "$@"
}

all() {
  local verb=$1 names name n=0
  shift
  names=$(stage -list)
  local total
  total=$(wc -w <<<"$names")
  for name in $names; do
    n=$((n + 1))
    printf '== %d of %d: %s %s\n' "$n" "$total" "$verb" "$name"
    one "$name" "$verb" "$@" || fail "$verb $name failed, after $((n - 1)) of $total: mend it and run the same command again"
  done
  printf '== all %d functions: %s done\n' "$total" "$verb"
}

if [ "${1-}" = list ] && [ $# -eq 1 ]; then
  stage -list
  exit
fi
case "${1-} ${2-}" in
'all build' | 'all deploy') ;;
'all '* | ' '*) usage ;;
*' build' | *' run' | *' invoke' | *' deploy') ;;
*) usage ;;
esac
need_func
if [ "$1" = all ]; then
  shift
  all "$@"
else
  one "$@"
fi
