# Installs what is missing, and builds: $pointsman, $judge, $home/python, $home/node.

missing=()
need() { command -v "$1" >/dev/null || missing+=("$2"); }
need nginx nginx-light
need curl curl
need python3 python3
need node nodejs
need npm npm
need go golang-go
need wrk wrk
need h2load nghttp2-client
need slowhttptest slowhttptest
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
if ((${#missing[@]})); then
    echo "installing ${missing[*]}"
    as_root=()
    if (($(id -u) != 0)); then as_root=(sudo); fi
    "${as_root[@]}" apt-get update -qq &&
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
            apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$work/apt" 2>&1 ||
        { cat "$work/apt"; echo "judges: installation failed" >&2; exit 2; }
fi

# The WebSocket libraries, outside of the tree.
if [[ ! -d $home/python/websockets ]]; then
    python3 -m pip install --quiet --disable-pip-version-check --target "$home/python" \
        'websockets>=12,<18' 2>"$work/pip" ||
        { cat "$work/pip"; echo "judges: pip failed" >&2; exit 2; }
fi
if [[ ! -d $home/node/node_modules/ws ]]; then
    mkdir -p "$home/node"
    npm install --silent --no-audit --no-fund --prefix "$home/node" ws@8 >"$work/npm" 2>&1 ||
        { cat "$work/npm"; echo "judges: npm failed" >&2; exit 2; }
fi
export PYTHONPATH=$home/python JUDGES_WS=$home/node/

judge=$home/judge
(cd "$here/go" && GOFLAGS=-mod=mod GOCACHE=$home/gocache go build -o "$judge" .) ||
    { echo "judges: the Go judge does not build" >&2; exit 2; }

pointsman=${POINTSMAN:-}
if [[ -z $pointsman ]]; then
    (cd "$root" && cargo build --release --quiet --bin pointsman) || exit 2
    pointsman=${CARGO_TARGET_DIR:-$root/target}/release/pointsman
fi
pointsman=$(realpath "$pointsman")

SECONDS=0
echo "judged: $("$pointsman" --version)"
echo "by node $(node --version), $(go version | cut -d' ' -f3)," \
    "$(python3 --version), $(nginx -v 2>&1 | sed 's/.*: //'), $(curl --version | head -n 1 |
        cut -d' ' -f1,2), $(h2load --version), $(wrk --version 2>&1 | head -n 1 | cut -d' ' -f1,2)"
