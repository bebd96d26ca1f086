#!/usr/bin/env bash
# Stages functions and calls the func command on them: func builds the root package of a module, and these are folders
# of one. It needs Go and func, 1.23 or newer.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
  cat >&2 <<'END'
Usage: knative/func.sh NAME build|run|invoke|deploy [flags of func]
       knative/func.sh all build|deploy [flags of func]

NAME is the name under which a function is deployed: knative/func.sh list prints them all, with HARNESS_OVERLAY=payment
in the environment those of that overlay, too.
  knative/func.sh all deploy --registry registry.example.com/me
  HARNESS_OVERLAY=payment knative/func.sh all build
  knative/func.sh reserve-stock build
  MYSQL_DSN='root@tcp(127.0.0.1:3306)/' knative/func.sh orders-api run
  knative/func.sh reserve-stock invoke
  knative/func.sh orders-api invoke --request-type GET --target http://localhost:8080/api/orders
func builds for three platforms, which takes minutes the first time, and has no flag for fewer. Without flags invoke
sends an event that the function handles.
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

# given NAME FLAGS...: returns whether the flags set a variable.
given() {
  local name=$1
  shift
  [[ " $* " =~ [[:space:]](--env[=[:space:]]|-e[=[:space:]]?)"$name"= ]]
}

# manifest NAME: prints the file with the Service of a function.
manifest() {
  local file
  for file in "knative/base/$1.yaml" knative/components/*/"$1.yaml"; do
    if [ -e "$file" ]; then
      printf '%s\n' "$file"
      return
    fi
  done
}

# event NAME: prints an event that a function handles, in structured mode. func's own flags have no subject, which every fact
# needs.
event() {
  local name=$1 type source=/func id=$RANDOM$RANDOM data='{}' subject=
  case $name in
  publish-outbox-* | expire-orders) type=dev.knative.sources.ping ;;
  create-order) type=order.create ;;
  *)
    type=$(sed -n '/^  topics:$/{n;s/^ *- //p;q}' "$(manifest "$name")")
    case $type in
    order.*) source=/orders ;;
    ?*) source=/${type%%.*} ;;
    *) fail "$name handles requests, not events: say by --target where to, and by --data or --request-type GET what; func.sh has an example" ;;
    esac
    subject=$(sed -n 's/^  "orderId": "\(.*\)",$/\1/p' "events/testdata/$type.v1.json")
    id=$subject#1
    ;;
  esac
  if [ -f "events/testdata/$type.v1.json" ]; then data=$(cat "events/testdata/$type.v1.json"); fi
  printf '{"specversion":"1.0","id":"%s","source":"%s","type":"%s",' "$id" "$source" "$type"
  if [ -n "$subject" ]; then printf '"subject":"%s",' "$subject"; fi
  printf '"datacontenttype":"application/json","data":%s}\n' "$data"
}

# one NAME VERB [flags]
one() {
  local name=$1 verb=$2
  shift 2
  local dir=.stage/$name
  case $verb in
  # With an existing image func would not notice that the staged sources changed.
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
  invoke)
    if [ $# -eq 0 ]; then
      local sample
      sample=$(event "$name")
      set -- --format http --content-type application/cloudevents+json --data "$sample"
    fi
    ;;
  esac
  stage "$name" "$dir"
  # func writes its results into its copy of func.yaml, which the next staging replaces. Its host builder gives go build no flags
  # of its own, and the symbols for debuggers would be a third of an image.
  GOWORK=off GOFLAGS="-mod=mod -trimpath '-ldflags=-s -w'" func "$verb" --path "$dir" "$@"
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
