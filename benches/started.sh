# To be sourced: a folder for the run, an end of everything that was started, by pid, and where
# what was started listens.

work=$(mktemp -d)
started=()

finish() {
    for pid in "${started[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    rm -rf "$work"
}
trap finish EXIT

# The address that stands after "listening on" in a file, as soon as it is there.
address_in() {
    for _ in $(seq 200); do
        if grep -q 'listening on .*:[0-9]' "$1" 2>/dev/null; then
            sed -n 's/.*listening on //p' "$1" | head -n 1
            return
        fi
        sleep 0.05
    done
    echo "nothing listens: $(cat "$1")" >&2
    return 1
}
